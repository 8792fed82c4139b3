"""The examples that take results further, run as their first lines say."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from chaos.postgres_server import PostgresServer
from support import standalone as standing
from support.command_line import vllm_batch
from support.receiver import Receiver
from support.requests import chat_line, jsonl
from support.s3_server import S3Server
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


def settings_of(example: str) -> str:
    """The configuration that the example's first lines show."""
    return (EXAMPLES / example).read_text().split('"""')[1].split("\n\n")[1]


@contextmanager
def serving(folder: Path, settings: str) -> Iterator[standing.Standalone]:
    config = folder / "config.yml"
    config.write_text(settings)
    with standing.standalone(folder / "data", "--config", str(config)) as running:
        yield running


@pytest.fixture
def system(tmp_path: Path, answers: Path) -> Iterator[standing.Standalone]:
    settings = settings_of("custom_handler.py").replace("/srv/answers", str(answers))
    with serving(tmp_path, settings.replace("folder: examples ", f"folder: {EXAMPLES} ")) as it:
        yield it


def run_example(name: str, system: standing.Standalone) -> list[str]:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env=dict(os.environ) | {"OPENAI_BASE_URL": system.url, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


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


def npm_answers() -> bool:
    """Whether Node is here, and its packages can be had."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    asked = [npm, "view", "@nats-io/jetstream@3", "version"]
    return subprocess.run(asked, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.slow
def test_the_subscriber_in_node(
    system: standing.Standalone, requests: Path, tmp_path: Path
) -> None:
    """Its packages come from the registry, hence slow."""
    if not npm_answers():
        pytest.skip("needs Node with npm, and a registry that npm reaches")
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


async def test_webhooks_to_an_endpoint_made_over_the_api(tmp_path: Path, requests: Path) -> None:
    """And, beside the example, one to a URL that a batch names."""
    receiver = Receiver()
    await receiver.start()
    try:
        with serving(tmp_path, settings_of("with_webhooks.py")) as system:
            sample, event, *results = run_example("with_webhooks.py", system)
            named = ("--metadata", f"webhook_url={receiver.url}")
            batch_id = vllm_batch("submit", str(requests), *named, url=system.url).stdout.strip()
            await until(lambda: bool(receiver.posts), what="the webhook")
    finally:
        await receiver.stop()
    assert batch_id in receiver.posts[0].body.decode()
    assert sample == "a sample: batch.completed"
    assert event.startswith("batch.completed: batch_")
    names = [result.partition(": ")[0] for result in results]
    assert sorted(names) == ["question-0", "question-1", "question-2"]
    assert all(result.partition(": ")[2] for result in results)


async def test_rows_in_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres = PostgresServer()
    await postgres.start()
    monkeypatch.setenv("RESULTS_URL", postgres.url)
    try:
        with serving(tmp_path, settings_of("postgres_insert.py")) as system:
            rows = run_example("postgres_insert.py", system)
    finally:
        await postgres.stop()
    assert [row.partition(": ")[0] for row in rows] == ["question-0", "question-1", "question-2"]
    assert all(row.partition(": ")[2] not in ("", "None") for row in rows)


async def test_files_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Server(tmp_path / "s3.log")
    await store.start()
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_URL": store.url,
        "S3_BUCKET": "results",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    boto3.resource("s3", endpoint_url=store.url).Bucket("results").create()
    try:
        with serving(tmp_path, settings_of("s3_upload.py")) as system:
            [said] = run_example("s3_upload.py", system)
    finally:
        await store.stop()
    assert said.startswith("batches/batch_")
    assert said.endswith("as the API has them: True")
