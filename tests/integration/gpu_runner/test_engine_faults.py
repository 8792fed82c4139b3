"""Engines that fail, hang, die, or never start."""

import pytest

from batch_gpu_runner import engine_life
from batch_gpu_runner.engines.base import EngineStartError
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(engine_life, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(engine_life, "LONGEST_PAUSE_S", 0.2)


async def test_a_request_that_always_fails_ends_in_the_error_file(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start(options={"fail_rate": "0.1"}, request_attempts=2)
    [ready] = await scheduler.plan(prompts(200))
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    assert 0 < manifest.failed < 60
    assert manifest.completed + manifest.failed == 200
    lines = await scheduler.lines(manifest.errors)
    assert {line["response"]["status_code"] for line in lines} == {500}
    assert {line["error"] for line in lines} == {None}
    sent = 200 + manifest.failed  # each failing one twice
    await until(lambda: len(runners.served()) == sent, what=f"{sent} requests in the log")


async def test_a_request_that_hangs_times_out(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start(options={"hang_on": "stay"}, request_timeout_s=1.0)
    [ready] = await scheduler.plan(["stay", *prompts(30)])
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    assert (manifest.completed, manifest.failed) == (30, 1)
    [line] = await scheduler.lines(manifest.errors)
    assert line["custom_id"] == "r0"
    assert line["response"] is None
    assert line["error"]["code"] == "request_timeout"


async def test_a_bad_request_is_its_own_result(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """The chunk is of a model that the request does not name: the engine answers 404."""
    runners.start(models=("sim", "other"))
    [ready] = await scheduler.plan(prompts(3), model="gone")
    fields = {name: getattr(ready, name) for name in ready.__struct_fields__}
    ready = type(ready)(**{**fields, "model": "other"})
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    lines = await scheduler.lines(manifest.errors)
    assert [line["response"]["status_code"] for line in lines] == [404] * 3
    assert len(runners.served()) == 0


async def test_the_request_that_kills_the_engine_is_found_and_all_others_complete(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start(options={"crash_on": "poison", "ttft_ms": "20"}, request_attempts=3, window=8)
    [one] = await scheduler.plan([*prompts(20), "poison", *prompts(40)])
    [two] = await scheduler.plan(prompts(30))
    await scheduler.release(one, two)
    manifest = await scheduler.completed(one, within_s=50)
    assert (manifest.completed, manifest.failed) == (60, 1)
    [line] = await scheduler.lines(manifest.errors)
    assert (line["custom_id"], line["error"]["code"]) == ("r20", "engine_crashed")
    assert "illegal memory access" in line["error"]["message"]
    assert (await scheduler.completed(two)).completed == 30


async def test_an_engine_killed_from_outside_costs_no_result(
    scheduler: ScriptedScheduler, runners: Runners, kill_engine
) -> None:
    runners.start(options={"requests_per_s": "100"}, request_attempts=3)
    [ready] = await scheduler.plan(prompts(150))
    await scheduler.release(ready)
    for done in (20, 80):
        await until(lambda done=done: len(runners.served()) > done, what="some work")
        kill_engine()
    manifest = await scheduler.completed(ready, within_s=30)
    assert (manifest.completed, manifest.failed) == (150, 0)


async def test_an_engine_that_cannot_start_says_why(runners: Runners) -> None:
    runner = runners.start(engine="openai", base_url="http://127.0.0.1:9/v1", options=None)
    failure = await runner.failure()
    assert isinstance(failure, EngineStartError)
    assert "runner.base_url" in str(failure)
