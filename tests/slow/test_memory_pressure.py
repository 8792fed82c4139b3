"""50,000 requests on an engine that runs out of memory above a load: all complete."""

import contextlib
import json
import re
import urllib.request
from pathlib import Path

import pytest
from openai import OpenAI

from support.batches import content, submit, wait
from support.ports import free_port
from support.requests import chat_line, custom_ids, jsonl
from support.standalone import Standalone, standalone

pytestmark = pytest.mark.slow

REQUESTS = 50_000
GIVEN_WINDOW = 128
# Some 45 tokens a request: half of the window fits, all of it does not.
FRUGAL = ("-o", "oom_above_tokens=3000", "-o", "ttft_ms=20")


def runner_metrics(first: int) -> dict[str, float]:
    """Series → value, of that service of this machine which is the runner."""
    for port in range(first, first + 6):
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(address, timeout=10) as answer:
                text = answer.read().decode()
            if "vllm_batch_runner_window_requests" in text:
                found = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
                return {series: float(value) for series, value in found}
    raise AssertionError(f"no runner shows metrics at {first} or the ports after it")


def logged(system: Standalone, event: str) -> list[dict[str, object]]:
    lines = (Path(system.folder) / "logs" / "runner.log").read_text("utf-8").splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in said if line.get("event") == event]


def test_everything_completes_and_what_was_spared_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = free_port()
    monkeypatch.setenv("VLLM_BATCH_METRICS__PORT", str(first))
    with standalone(tmp_path / "data", "--model", "sim=sim", *FRUGAL) as system:
        client = OpenAI(base_url=system.url, api_key="none")
        lines = jsonl(
            chat_line(f"r{n}", f"Tell me about number {n}, please.") for n in range(REQUESTS)
        )
        batch = wait(client, submit(client, lines).id, within_s=900)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.completed == REQUESTS
        assert batch.error_file_id is None
        found = custom_ids(content(client, batch.output_file_id))
        assert sorted(found) == sorted(f"r{n}" for n in range(REQUESTS))

        shown = runner_metrics(first)
    died = 'vllm_batch_runner_engine_deaths_total{cause="engine_out_of_memory"}'
    assert shown[died] >= 1
    assert 1 <= shown["vllm_batch_runner_memory_steps"] <= 4
    assert 1 < shown["vllm_batch_runner_window_requests"] < GIVEN_WINDOW
    spared = logged(system, "memory_spared")
    assert len(spared) == shown[died]
    print(
        f"{int(shown[died])} deaths of memory; window {GIVEN_WINDOW} → "
        + " → ".join(str(line["window"]) for line in spared)
        + f"; settings down by {int(shown['vllm_batch_runner_memory_steps'])} step(s)"
    )
