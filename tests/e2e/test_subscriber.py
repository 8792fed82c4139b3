"""The example that listens on NATS gets what the launcher's files lead it to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import vllm_batch
from support.requests import chat_line, jsonl
from support.standalone import Standalone

SUBSCRIBER = Path(__file__).parents[2] / "examples" / "subscriber.py"


@pytest.fixture
def subscriber(system: Standalone) -> Iterator[subprocess.Popen[str]]:
    nats_url = (system.folder / "run" / "nats.url").read_text().strip()
    environment = dict(os.environ) | {"NATS_URL": nats_url, "OPENAI_BASE_URL": system.url}
    with subprocess.Popen(
        [sys.executable, str(SUBSCRIBER)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.terminate()


def test_a_subscriber_fetches_what_has_completed(
    system: Standalone, subscriber: subprocess.Popen[str], tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl(chat_line(f"r{n}", "hello", max_tokens=4) for n in range(7)))
    batch_id = vllm_batch("submit", str(path), "--watch", url=system.url).stdout.strip()
    assert subscriber.stdout is not None
    # Its consumer is new: it is given what completed before, too.
    line = next(line for line in subscriber.stdout if line.startswith(batch_id))
    assert line == f"{batch_id}: 7 results\n"
