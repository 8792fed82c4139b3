"""Requests that kill the engine, fill its memory or hang it: an error line each, no other."""

import asyncio
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from batch_common import keys
from batch_common.bus import Bus
from batch_common.events import ChunkReady
from batch_common.formats.manifest import Manifest
from batch_gpu_runner import engine_life
from support.faults import order
from support.runners import Runners, engines
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

CRASHING = {"crash_on": "poison", "ttft_ms": "50"}


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


def bound(in_flight: int) -> int:
    return math.ceil(math.log2(in_flight)) + 2


class Restarts:
    """How often engines were started again since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def count(self) -> int:
        return self._now() - self._before

    def _now(self) -> int:
        return int(REGISTRY.get_sample_value("vllm_batch_runner_engine_restarts_total") or 0)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_life, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(engine_life, "LONGEST_PAUSE_S", 0.2)


async def errors_of(scheduler: ScriptedScheduler, manifest: Manifest) -> dict[str, str]:
    """The code of each error line."""
    lines = await scheduler.lines(manifest.errors)
    assert all(line["response"] is None for line in lines)
    return {line["custom_id"]: line["error"]["code"] for line in lines}


async def all_done(
    scheduler: ScriptedScheduler, ready: ChunkReady, errors: dict[str, str], within_s: float = 60
) -> None:
    """Each line has one result, and these are the errors."""
    manifest = await scheduler.completed(ready, within_s=within_s)
    assert await errors_of(scheduler, manifest) == errors
    assert manifest.completed == ready.end_line - ready.first_line - len(errors)


@pytest.mark.parametrize(
    "window", [8, *(pytest.param(n, marks=pytest.mark.slow) for n in (64, 256))]
)
async def test_restarts_for_one_poison_request_are_bounded(
    scheduler: ScriptedScheduler, runners: Runners, window: int
) -> None:
    """At the worst place: the half that holds it is always tried first."""
    restarts = Restarts()
    runners.start(options=CRASHING, window=window)
    [ready] = await scheduler.plan(["poison", *prompts(3 * window)])
    await scheduler.release(ready)
    await all_done(scheduler, ready, {"r0": "engine_crashed"}, within_s=150)
    print(f"window {window}: {restarts.count()} restarts, at most {bound(window)}")
    assert 2 <= restarts.count() <= bound(window)


@pytest.mark.parametrize("deaths", [pytest.param(1, marks=pytest.mark.slow), 3])
async def test_a_killed_runner_does_not_make_the_search_begin_again(
    scheduler: ScriptedScheduler, runners: Runners, deaths: int
) -> None:
    """The record stands beside the segments, so whoever comes next goes on."""
    restarts = Restarts()
    first = runners.start(options=CRASHING)
    [ready] = await scheduler.plan(["poison", *prompts(40)])
    await scheduler.release(ready)
    await until(lambda: restarts.count() == deaths, what="deaths")
    await first.kill()
    [record] = [i.key for i in await scheduler.blobs.list(ready.prefix) if keys.is_suspects(i.key)]
    assert b'"groups":[{' in await scheduler.blobs.get(record)
    second = Restarts()
    runners.start(options=CRASHING)
    await all_done(scheduler, ready, {"r0": "engine_crashed"})
    # Of the first runner's restarts the last came to nothing: the second runner stood for it.
    assert restarts.count() <= bound(16)
    assert second.count() <= bound(16) - deaths


@pytest.mark.slow
async def test_each_death_comes_with_a_runners_death(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Runners are killed as soon as they have recorded a death; the deaths stay bounded."""
    [ready] = await scheduler.plan(["poison", *prompts(100)])
    await scheduler.release(ready)
    starts = 0
    while scheduler.completion(ready) is None:
        restarts = Restarts()
        runner = runners.start(options=CRASHING, window=64)
        starts += 1
        assert starts <= bound(64) + 1

        def ended(restarts: Restarts = restarts) -> bool:
            return restarts.count() > 0 or scheduler.completion(ready) is not None

        await until(ended, within_s=60, what="a death or the end")
        await runner.kill()
    await all_done(scheduler, ready, {"r0": "engine_crashed"})


@pytest.mark.slow
async def test_several_poison_requests_in_two_chunks_at_once(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    restarts = Restarts()
    runners.start(options=CRASHING)
    [one] = await scheduler.plan([*prompts(3), "poison a", "poison b"])
    [two] = await scheduler.plan(["poison c", *prompts(30)])
    await scheduler.release(one, two)
    await all_done(scheduler, one, {"r3": "engine_crashed", "r4": "engine_crashed"}, within_s=90)
    await all_done(scheduler, two, {"r0": "engine_crashed"}, within_s=90)
    assert restarts.count() <= 3 * bound(16)


@pytest.mark.slow
async def test_two_runners_share_the_work_and_one_has_the_poison(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    chunks = await scheduler.plan(["poison", *prompts(79)], chunk_size=20)
    for _ in range(2):
        runners.start(options=CRASHING, window=8, chunks_held=1)
    await scheduler.release(*chunks)
    await all_done(scheduler, chunks[0], {"r0": "engine_crashed"})
    for ready in chunks[1:]:
        await all_done(scheduler, ready, {})


@pytest.mark.slow
async def test_a_suspect_that_hangs_holds_nobody_up_for_ever(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start(options=CRASHING | {"hang_on": "stay"}, window=8, request_timeout_s=1.0)
    [ready] = await scheduler.plan(["stay", "poison", *prompts(20)])
    await scheduler.release(ready)
    await all_done(scheduler, ready, {"r0": "request_timeout", "r1": "engine_crashed"})


@pytest.mark.slow
async def test_a_request_that_fills_the_memory_alone_is_named_so(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """And the window is its old size afterwards: the others did nothing."""
    restarts = Restarts()
    runners.start(options={"oom_on": "huge", "ttft_ms": "50"}, window=8)
    [ready] = await scheduler.plan(["huge", *prompts(40)])
    await scheduler.release(ready)
    await all_done(scheduler, ready, {"r0": "engine_out_of_memory"})
    assert restarts.count() <= bound(8)
    assert REGISTRY.get_sample_value("vllm_batch_runner_window_requests") == 8


async def test_a_load_that_fills_the_memory_shrinks_the_window_and_costs_no_result(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """About 30 tokens a request: 16 are too many, 4 fit."""
    restarts = Restarts()
    runners.start(options={"oom_above_tokens": "220", "ttft_ms": "50"}, window=16)
    [ready] = await scheduler.plan(prompts(60))
    await scheduler.release(ready)
    await all_done(scheduler, ready, {})
    assert restarts.count() <= 3
    assert 1 < (REGISTRY.get_sample_value("vllm_batch_runner_window_requests") or 0) < 16


@pytest.mark.slow
async def test_a_lone_request_is_not_convicted_of_deaths_from_outside(
    scheduler: ScriptedScheduler, runners: Runners, kill_engine: Callable[[], None]
) -> None:
    restarts = Restarts()
    runners.start(options={"ttft_ms": "700"})
    [ready] = await scheduler.plan(["only me"])
    await scheduler.release(ready)
    await until(lambda: bool(scheduler.claims), what="the claim")
    for deaths in (1, 2):
        await asyncio.sleep(0.3)  # in flight by now
        kill_engine()
        await until(lambda deaths=deaths: restarts.count() == deaths, what="a restart")
        await until(engine_is_up, what="the engine")
    await all_done(scheduler, ready, {})


def engine_is_up() -> bool:
    return REGISTRY.get_sample_value("vllm_batch_runner_engine_up") == 1


@pytest.mark.slow
async def test_an_engine_that_is_frozen_is_started_again(
    scheduler: ScriptedScheduler, runners: Runners, tmp_path: Path
) -> None:
    restarts = Restarts()
    runners.start(options={"requests_per_s": "100"}, engine_silence_s=1.0)
    [ready] = await scheduler.plan(prompts(150))
    await scheduler.release(ready)
    await until(lambda: len(runners.served()) > 20, what="some work")
    [engine] = engines(tmp_path)
    engine.send_signal(signal.SIGSTOP)
    await all_done(scheduler, ready, {})
    assert restarts.count() == 1


async def test_an_engine_that_answers_nothing_but_its_health_blames_no_request(
    scheduler: ScriptedScheduler, runners: Runners, tmp_path: Path, bus: Bus
) -> None:
    """All requests in flight run out of their time, and our own small one as well."""
    faults = tmp_path / "faults.json"
    restarts = Restarts()
    runners.start(options={"fault_file": str(faults)}, request_timeout_s=1.0)
    [ready] = await scheduler.plan(prompts(100))
    order(faults, "hang")
    await scheduler.release(ready)
    await until(lambda: restarts.count() >= 1, what="a restart")
    order(faults, "none")
    await all_done(scheduler, ready, {})
