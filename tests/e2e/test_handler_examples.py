"""The examples that take results further, run as their first lines say."""

import csv
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import standalone as standing
from support.command_line import vllm_batch
from support.requests import chat_line, jsonl
from support.wait import until

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl(chat_line(f"r{n}", f"hello {n}", max_tokens=4) for n in range(7)))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    folder = tmp_path / "answers"
    folder.mkdir()
    return folder


@pytest.fixture
def system(tmp_path: Path, answers: Path) -> Iterator[standing.Standalone]:
    """With the settings from the example's first lines."""
    settings = (EXAMPLES / "custom_handler.py").read_text().split('"""')[1].split("\n\n")[1]
    lines = settings.replace("/srv/answers", str(answers))
    lines = lines.replace("folder: examples ", f"folder: {EXAMPLES} ")
    config = tmp_path / "config.yml"
    config.write_text(lines)
    with standing.standalone(tmp_path / "data", "--config", str(config)) as running:
        yield running


async def test_a_custom_handler_writes_questions_and_answers(
    system: standing.Standalone, requests: Path, answers: Path
) -> None:
    batch_id = vllm_batch("submit", str(requests), "--watch", url=system.url).stdout.strip()
    path = answers / f"{batch_id}.csv"
    await until(path.exists, what="the CSV file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["custom_id"]: row["question"] for row in rows} == {
        f"r{n}": f"hello {n}" for n in range(7)
    }
    assert all(row["answer"] and not row["error"] for row in rows)
    assert [name.name for name in answers.iterdir()] == [path.name]


@pytest.mark.slow
def test_the_subscriber_in_node(
    system: standing.Standalone, requests: Path, tmp_path: Path
) -> None:
    """Its packages come from the registry, hence slow."""
    folder = tmp_path / "node"
    folder.mkdir()
    script = folder / "subscriber.mjs"
    script.write_text((EXAMPLES / "subscriber.mjs").read_text())
    packages = ["@nats-io/transport-node@3", "@nats-io/jetstream@3"]
    install = ["npm", "install", "--no-audit", "--no-fund", *packages]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=300)
    environment = {
        "PATH": os.environ["PATH"],
        "NATS_URL": (system.folder / "run" / "nats.url").read_text().strip(),
        "OPENAI_BASE_URL": system.url,
    }
    node_path = shutil.which("node")
    assert node_path is not None
    with subprocess.Popen(
        [node_path, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as node:
        try:
            batch_id = vllm_batch("submit", str(requests), "--watch", url=system.url)
            assert node.stdout is not None
            assert node.stdout.readline() == f"{batch_id.stdout.strip()}: 7 results\n"
        finally:
            node.terminate()
