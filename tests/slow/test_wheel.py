"""The built wheel, in an empty environment far from the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from support.batches import results, submit, wait
from support.requests import chat_line, jsonl
from support.standalone import start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel and what it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("vllm_batch_server-*.whl")
    _run(sys.executable, "-m", "venv", folder / "environment")
    python = folder / "environment" / "bin" / "python"
    _run(python, *pip, "install", wheel)
    return python


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=400, cwd="/")


def test_it_runs_a_batch(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if ".venv" not in p)
    monkeypatch.setenv("PATH", path)
    command = (str(python.with_name("vllm-batch")),)
    system = start(tmp_path / "data", ("--model", "sim=sim"), command=command)
    try:
        client = OpenAI(base_url=system.url, api_key="none")
        batch = submit(client, jsonl(chat_line(str(n), "hi") for n in range(100)))
        batch = wait(client, batch.id)
        assert batch.status == "completed"
        assert sorted(results(client, batch), key=int) == [str(n) for n in range(100)]
    finally:
        assert system.stop() == 0


def test_the_event_schemas_are_in_it(python: Path) -> None:
    code = (
        "from importlib.resources import files;"
        "print(sum(1 for _ in files('batch_common').joinpath('_schemas', 'events').iterdir()))"
    )
    counted = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd="/", timeout=60
    )
    assert int(counted.stdout) == len(list((ROOT / "schemas" / "events").glob("*.json")))


def test_the_task_schemas_are_in_it(python: Path, tmp_path: Path) -> None:
    """Found, and held against the meta-schema, far from the checkout."""
    command = [python.with_name("vllm-batch"), "schema", "list", "--json"]
    listed = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    names = sorted(path.stem for path in (ROOT / "schemas" / "examples").glob("*.json"))
    assert [each["name"] for each in found] == names
    assert not any("problem" in each for each in found)
