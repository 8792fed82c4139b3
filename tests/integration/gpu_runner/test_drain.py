"""The runner as a process, told to leave."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.command_line import COMMAND, family, living
from support.nats_process import NatsProcess
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

Start = Callable[..., subprocess.Popen[bytes]]


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


@pytest.fixture
def start(nats_process: NatsProcess, tmp_path: Path, runners: Runners) -> Iterator[Start]:
    """Starts a runner process; `options` go to its simulated engine."""
    started: list[subprocess.Popen[bytes]] = []

    def begin_runner(**changes: Any) -> subprocess.Popen[bytes]:
        options = {"request_log": str(runners.log)} | changes.pop("options", {})
        number = len(started)
        settings = {
            "engine": "sim", "window": 8, "flush_s": 0.1, "claim_s": 0.2, "ack_wait_s": 60,
            "state_dir": str(tmp_path / f"process-{number}"), "options": options,
        }  # fmt: skip
        config = tmp_path / f"runner-{number}.yml"
        config.write_text(
            json.dumps(
                {
                    "data_dir": str(tmp_path),
                    "nats": {"url": nats_process.settings.url.reveal()},
                    "metrics": {"port": 0},
                    "runner": settings | changes,
                }
            )
        )
        with (tmp_path / f"{number}.err").open("wb") as errors:
            process = subprocess.Popen(
                [*COMMAND, "runner", "--config", str(config)], stdout=errors, stderr=errors
            )
        started.append(process)
        return process

    yield begin_runner
    for process in started:
        process.kill()
        process.wait()


async def left(process: subprocess.Popen[bytes], within_s: float) -> tuple[int, float]:
    """Its exit code, and the seconds it took."""
    began = time.monotonic()
    code = await asyncio.to_thread(process.wait, within_s)
    return code, time.monotonic() - began


async def gone(processes: list[psutil.Process]) -> None:
    await until(lambda: not living(processes), what="the end of the engine and its guard")


async def test_sigterm_hands_back_and_a_restart_goes_on(
    scheduler: ScriptedScheduler, runners: Runners, start: Start
) -> None:
    """With an ack_wait of a minute: what the next runner gets at once was handed back."""
    [ready] = await scheduler.plan(prompts(400))
    await scheduler.release(ready)
    process = start(options={"requests_per_s": "100", "ttft_ms": "200"})
    await until(
        lambda: any(c.completed > 40 for c in scheduler.claims), within_s=60, what="some work"
    )
    below = family(process.pid)
    assert below
    process.send_signal(signal.SIGTERM)
    code, seconds = await left(process, within_s=30)
    assert (code, seconds < 15) == (0, True)
    await gone(below)
    last = scheduler.claims[-1]
    assert last.released
    await until(lambda: len(runners.served()) >= last.completed, what="the engine's log")
    assert len(runners.served()) == last.completed, "what was in flight was waited for"
    start()
    assert (await scheduler.completed(ready, within_s=60)).completed == 400
    await runners.served_each_once(400)


async def test_a_second_signal_stops_at_once_and_leaves_no_engine(
    scheduler: ScriptedScheduler, runners: Runners, start: Start
) -> None:
    [ready] = await scheduler.plan(["stay", *prompts(30)])
    await scheduler.release(ready)
    process = start(options={"hang_on": "stay"})
    await until(
        lambda: any(c.completed == 30 for c in scheduler.claims), within_s=60, what="the others"
    )
    below = family(process.pid)
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert process.poll() is None, "it waits for the request in flight"
    process.send_signal(signal.SIGTERM)
    code, seconds = await left(process, within_s=10)
    assert (code, seconds < 3) == (128 + signal.SIGTERM, True)
    await gone(below)


@pytest.mark.slow
async def test_sigterm_while_a_request_hangs_is_kept_within_its_time(
    scheduler: ScriptedScheduler, runners: Runners, start: Start
) -> None:
    """With everything as it is by default."""
    [ready] = await scheduler.plan(["stay", *prompts(30)])
    await scheduler.release(ready)
    process = start(options={"hang_on": "stay"})
    await until(
        lambda: any(c.completed == 30 for c in scheduler.claims), within_s=60, what="the others"
    )
    process.send_signal(signal.SIGTERM)
    code, seconds = await left(process, within_s=40)
    assert (code, seconds < 30) == (0, True)
    assert scheduler.claims[-1].released
    assert not await scheduler.settled(ready)


@pytest.mark.slow
async def test_sigterm_in_the_middle_of_a_trial(
    scheduler: ScriptedScheduler, runners: Runners, start: Start
) -> None:
    """Between an engine's death and its next life; the next runner goes on with the search."""
    [ready] = await scheduler.plan(["poison", *prompts(30)])
    await scheduler.release(ready)
    crashing = {"crash_on": "poison", "ttft_ms": "50"}
    process = start(options=crashing)

    async def recorded() -> bool:
        found = await scheduler.blobs.list(ready.prefix)
        return any(info.key.endswith("suspects.json") for info in found)

    await until(recorded, within_s=60, what="the first death")
    process.send_signal(signal.SIGTERM)
    code, seconds = await left(process, within_s=40)
    assert (code, seconds < 30) == (0, True)
    start(options=crashing)
    manifest = await scheduler.completed(ready, within_s=60)
    assert (manifest.completed, manifest.failed) == (30, 1)
