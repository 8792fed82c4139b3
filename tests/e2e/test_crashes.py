"""Processes die in the middle of a batch, and nothing is lost or done twice."""

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from openai import OpenAI
from openai.types import Batch

from support.batches import results, submit, wait
from support.requests import chat_line, jsonl
from support.standalone import Standalone

LINES = 600
RATE = 120
WINDOW = 16


def running(batch: Batch) -> bool:
    """Some results are in, and most are still to come."""
    counts = batch.request_counts
    return counts is not None and LINES // 5 <= counts.completed <= LINES // 2


def start_batch(
    own_system: Callable[..., Standalone], tmp_path: Path
) -> tuple[Standalone, OpenAI, str, Path]:
    log = tmp_path / "served.jsonl"
    config = tmp_path / "config.yml"
    config.write_text(f"runner: {{window: {WINDOW}, ack_wait_s: 5, flush_s: 0.5}}\n")
    options = ("-o", f"requests_per_s={RATE}", "-o", f"request_log={log}")
    system = own_system("--config", str(config), *options)
    client = OpenAI(base_url=system.url, api_key="none", max_retries=5)
    batch = submit(client, jsonl(chat_line(str(n), f"prompt {n}") for n in range(LINES)))
    wait(client, batch.id, running)
    return system, client, batch.id, log


def computed(log: Path) -> Counter[str]:
    """How often each request was served."""
    return Counter(json.loads(line)["id"] for line in log.read_text().splitlines())


def await_replacement(system: Standalone, role: str, killed: int) -> None:
    """Until the supervisor has started another."""
    deadline = time.monotonic() + 30
    while system.pid(role) == killed:
        assert time.monotonic() < deadline, f"{role} was not started again"
        time.sleep(0.05)


def assert_each_once(client: OpenAI, batch_id: str) -> None:
    batch = wait(client, batch_id, within_s=90)
    assert batch.status == "completed"
    assert sorted(results(client, batch), key=int) == [str(n) for n in range(LINES)]
    assert batch.request_counts is not None
    assert batch.request_counts.completed == LINES


def assert_saved_results_kept(log: Path) -> None:
    """Every request was computed, and again only what was in flight or not yet flushed."""
    served = computed(log)
    assert len(served) == LINES
    # Answered since the last flush: twice the interval, for a slow disk.
    assert sum(served.values()) - LINES <= WINDOW + RATE * 2 * 0.5


def test_a_killed_runner_repeats_only_what_was_not_saved(
    own_system: Callable[..., Standalone], tmp_path: Path
) -> None:
    system, client, batch_id, log = start_batch(own_system, tmp_path)
    killed = system.send("runner", signal.SIGKILL)
    assert_each_once(client, batch_id)
    assert system.pid("runner") != killed
    assert_saved_results_kept(log)


def test_every_service_is_killed_in_turn(
    own_system: Callable[..., Standalone], tmp_path: Path
) -> None:
    system, client, batch_id, _ = start_batch(own_system, tmp_path)
    for role in ("scheduler", "gateway", "nats-server", "sinks"):
        killed = system.send(role, signal.SIGKILL)
        await_replacement(system, role, killed)
    assert_each_once(client, batch_id)


def test_the_jetstream_directory_is_deleted_in_mid_batch(
    own_system: Callable[..., Standalone], tmp_path: Path
) -> None:
    system, _client, batch_id, log = start_batch(own_system, tmp_path)
    assert system.stop() == 0
    shutil.rmtree(system.folder / "jetstream")
    config = tmp_path / "config.yml"
    options = ("-o", f"requests_per_s={RATE}", "-o", f"request_log={log}")
    again = own_system("--config", str(config), *options)
    assert_each_once(OpenAI(base_url=again.url, api_key="none"), batch_id)
    assert_saved_results_kept(log)
