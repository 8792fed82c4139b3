"""A backup taken under load, after another one was killed, brings everything back."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from openai import OpenAI

from support.batches import TERMINAL, content, results, submit, wait
from support.command_line import ANY_NATS_PORT
from support.deployment import API_KEY, CONFIG, Deployment
from support.requests import chat_line, jsonl
from support.standalone import Standalone

LONG = 4000
BIG_BYTES = 24 << 20


class Seen(msgspec.Struct):
    """What the server had told before the backup was begun. files: id → bytes."""

    batches: set[str]
    files: dict[str, bytes]
    ended: dict[str, dict[str, Any]]


class Load:
    """Some batches have ended, a long one runs, and more come in behind it all the time."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._files: dict[str, bytes] = {}
        # Batch → its custom ids.
        self.batches: dict[str, list[str]] = {}
        self._ended: list[str] = []
        self.long = ""

    def __enter__(self) -> Self:
        for name in ("a", "b"):
            self._ended.append(self._submit([f"{name}-{n}" for n in range(20)]))
            wait(self._client, self._ended[-1])
        self._upload(jsonl(chat_line("big", "x" * 1000) for _ in range(BIG_BYTES // 1200)))
        self.long = self._submit([f"long-{n}" for n in range(LONG)])
        wait(
            self._client,
            self.long,
            lambda it: bool(it.request_counts and it.request_counts.completed),
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def seen(self) -> Seen:
        """What the server has told so far."""
        found = Seen(set(self.batches), dict(self._files), {})
        for batch_id in self._ended:
            batch = self._client.batches.retrieve(batch_id)
            found.ended[batch_id] = batch.model_dump()
            found.files[batch.output_file_id or ""] = content(self._client, batch.output_file_id)
        return found

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1.0):
            number += 1
            self._submit([f"{number}-{n}" for n in range(8)])

    def _submit(self, ids: list[str]) -> str:
        data = jsonl(chat_line(one, f"prompt {one}") for one in ids)
        batch = submit(self._client, data)
        self.batches[batch.id] = ids
        self._files[batch.input_file_id] = data
        return batch.id

    def _upload(self, data: bytes) -> None:
        file = self._client.files.create(file=("big.jsonl", data), purpose="batch")
        self._files[file.id] = data


def backup(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_BATCH_")}
    return subprocess.Popen(
        [sys.executable, "-m", "batch_cli", "backup", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kept | ANY_NATS_PORT | (environ or {}),
    )


def done(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out.strip()


def kill_in_the_middle(process: subprocess.Popen[str], place: Path) -> None:
    """While an object is being written."""
    deadline = time.monotonic() + 60
    while not any((place / "incoming").glob("*")):
        assert process.poll() is None, "it was too quick"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)


def backed_up(load: Load, place: Path, source: list[str], environ: dict[str, str]) -> Seen:
    """What must be in the backup that now lies in `place`."""
    kill_in_the_middle(backup("create", str(place), *source, environ=environ), place)
    listed = backup("list", str(place))
    assert listed.communicate(timeout=60)[0] == ""  # nothing that looks like a backup
    assert listed.returncode == 1
    seen = load.seen()
    made = done(backup("create", str(place), *source, environ=environ))
    assert made.startswith("backup_")
    assert done(backup("verify", str(place))) == ""
    return seen


def assert_all_there(client: OpenAI, seen: Seen, load: Load) -> None:
    for batch_id, was in seen.ended.items():
        assert client.batches.retrieve(batch_id).model_dump() == was
    for file_id, data in seen.files.items():
        assert content(client, file_id) == data
    there = {batch.id for batch in client.batches.list(limit=100)}
    assert there >= seen.batches
    for batch_id in there:
        batch = wait(client, batch_id, within_s=90)
        assert batch.status == "completed"
        assert sorted(results(client, batch)) == sorted(load.batches[batch_id])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "place"
    yield folder
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is not its owner's alone"


def test_a_backup_of_up(own_system: Callable[..., Standalone], place: Path, tmp_path: Path) -> None:
    system = own_system("-o", "requests_per_s=40")
    client = OpenAI(base_url=system.url, api_key="none", max_retries=5)
    with Load(client) as load:
        seen = backed_up(load, place, ["--data-dir", str(system.folder)], {})
        assert client.batches.retrieve(load.long).status not in TERMINAL
    system.stop()
    refused = backup("restore", str(place), "--data-dir", str(system.folder))
    assert refused.wait(60) == 1
    assert "the database is not empty" in refused.communicate()[1]
    done(backup("restore", str(place), "--data-dir", str(tmp_path / "restored")))
    again = own_system(folder="restored")
    assert_all_there(OpenAI(base_url=again.url, api_key="none"), seen, load)


@pytest.mark.slow
def test_a_backup_of_services_apart_restored_on_one_machine(
    own_system: Callable[..., Standalone], place: Path, tmp_path: Path
) -> None:
    """From Postgres and S3 into SQLite and a folder: a backup knows no such difference."""
    deployment = Deployment(tmp_path / "deployment")
    deployment.start()
    try:
        client = OpenAI(base_url=deployment.url, api_key=API_KEY, max_retries=5)
        environ = deployment._environment("scheduler", tmp_path / "admin")
        with Load(client) as load:
            seen = backed_up(load, place, ["--config", str(CONFIG)], environ)
    finally:
        deployment.stop()
    done(backup("restore", str(place), "--data-dir", str(tmp_path / "restored")))
    config = tmp_path / "config.yml"
    config.write_text(f"gateway: {{api_keys: {{{API_KEY}: default}}}}\n")
    again = own_system("--config", str(config), folder="restored")
    assert_all_there(OpenAI(base_url=again.url, api_key=API_KEY), seen, load)
