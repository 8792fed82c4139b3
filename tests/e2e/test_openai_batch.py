"""The `openai-batch` package, the two releases whose ways of submitting differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from support.batches import wait
from support.requests import chat_line, custom_ids, jsonl
from support.standalone import Standalone

LIBRARY_FLOW = """
import sys
from openai_batch import Batch
from openai_batch.providers import get_provider_by_base_url

provider = get_provider_by_base_url(sys.argv[1])
provider.api_key = "none"
with Batch(provider=provider) as batch:
    for animal in ("cat", "robot", "spaceship"):
        batch.add_to_batch(
            model="sim",
            temperature=0.7,
            max_completion_tokens=20,
            messages=[{"role": "user", "content": f"Tell me a joke about a {animal}"}],
        )
    result, output_path, error_path = batch.submit_wait_download(interval=0.1)
print(result.status, output_path)
"""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both releases, each in a folder of its own; what they need is installed already."""
    folder = tmp_path_factory.mktemp("openai-batch")
    for release in ("0.3.3", "0.3.4"):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                *("--target", folder / release, f"openai-batch=={release}"),
            ],
            check=True,
            timeout=120,
        )
    return folder


def python(packages: Path, release: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(packages / release)},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library(system: Standalone, packages: Path, tmp_path: Path) -> None:
    said = python(packages, "0.3.3", tmp_path, "-c", LIBRARY_FLOW, system.url)
    status, output = said.split()[-2:]
    assert status == "completed"
    assert custom_ids((tmp_path / output).read_bytes()) == ["line-1", "line-2", "line-3"]


def test_the_command_line(
    system: Standalone, client: OpenAI, packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(chat_line(f"q-{n}", "hi") for n in range(10)))
    server = ("--base-url", system.url, "--api-key", "none")
    run = ("-m", "openai_batch.run", *server)
    said = python(packages, "0.3.4", tmp_path, *run, "--create", "in.jsonl")
    batch_id = said.split("Created ")[1].split(".")[0]
    assert wait(client, batch_id).status == "completed"
    python(packages, "0.3.4", tmp_path, *run, "-o", "out.jsonl", "--resume", batch_id)
    assert len(custom_ids((tmp_path / "out.jsonl").read_bytes())) == 10
