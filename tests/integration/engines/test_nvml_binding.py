"""pynvml itself, over a driver's library of our own: its calls, layouts and errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_HEAR = """
from batch_gpu_runner.gpu.library import driver_library
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.xid_events import XidEvents
nvml = Nvml(driver_library(), {})
events = XidEvents(nvml, nvml.open())
print(events.wait(5), events.wait(0.1))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In which processes find the library as if a driver were installed."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path / "libnvidia-ml.so.1"
    source = ROOT / "tests" / "support" / "fake_nvml.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-o", library, source], check=True)
    return {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}


def test_the_drivers_side_of_the_contract(environment: dict[str, str]) -> None:
    contract = "tests/unit/gpu/test_nvml_contract.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "driver", contract],
        capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_an_xid_comes_through(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HEAR],
        capture_output=True, text=True, env=environment | {"FAKE_XID": "79"}, check=True,
    )  # fmt: skip
    assert "Xid(number=79))] []" in done.stdout
