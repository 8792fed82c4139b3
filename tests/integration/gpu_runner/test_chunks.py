"""Chunks through a whole runner: real bus, real blobs, the simulated engine."""

from batch_common.bus import Bus
from batch_common.cloudevents import EVENT_ID, TRACE
from batch_common.formats.result import result_id
from batch_common.presence import present
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until


def prompts(count: int, about: str = "q") -> list[str]:
    return [f"{about} {number}" for number in range(count)]


async def test_a_chunk_end_to_end(scheduler: ScriptedScheduler, runners: Runners) -> None:
    runners.start()
    [ready] = await scheduler.plan(prompts(700))
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    assert (manifest.completed, manifest.failed, manifest.unfinished) == (700, 0, 0)
    assert manifest.errors is None
    lines = await scheduler.lines(manifest.output)
    assert sorted(line["custom_id"] for line in lines) == sorted(f"r{n}" for n in range(700))
    line = next(line for line in lines if line["custom_id"] == "r0")
    assert line["id"] == result_id(ready.batch_id, 700)
    assert line["response"]["status_code"] == 200
    assert line["response"]["request_id"] == line["response"]["body"]["id"]
    assert line["error"] is None
    usage = [line["response"]["body"]["usage"] for line in lines]
    assert manifest.usage.input_tokens == sum(each["prompt_tokens"] for each in usage)
    assert manifest.usage.output_tokens == sum(each["completion_tokens"] for each in usage)
    await until(lambda: scheduler.settled(ready), what="the ack")
    assert scheduler.headers[0][EVENT_ID] == f"{ready.chunk}:{manifest.attempt}"
    assert scheduler.headers[0][TRACE] == "00-aa-bb-01"


async def test_the_manifest_lists_the_segments_that_are_there(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start(flush_results=50)
    [ready] = await scheduler.plan(prompts(300))
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    found = [info.key for info in await scheduler.blobs.list(ready.prefix)]
    assert sorted(manifest.segments) == sorted(key for key in found if "/segment-" in key)
    assert len(manifest.segments) > 2


async def test_a_part_of_a_plan_is_its_own_lines(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start()
    chunks = await scheduler.plan(prompts(25), chunk_size=10)
    await scheduler.release(chunks[2])
    manifest = await scheduler.completed(chunks[2])
    lines = await scheduler.lines(manifest.output)
    assert sorted(line["custom_id"] for line in lines) == [f"r{n}" for n in range(20, 25)]


async def test_two_chunks_share_the_window(scheduler: ScriptedScheduler, runners: Runners) -> None:
    """At the first chunk's end the second one fills the window: the engine never idles."""
    [one] = await scheduler.plan(["stay", *prompts(20, "one")])
    [two] = await scheduler.plan(prompts(40, "two"))
    runners.start(window=4, options={"hang_on": "stay", "requests_per_s": "100"},
                  request_timeout_s=2.0)  # fmt: skip
    await scheduler.release(one, two)
    second = await scheduler.completed(two)
    assert scheduler.completion(one) is None
    first = await scheduler.completed(one)
    assert (second.completed, first.completed, first.failed) == (40, 20, 1)


async def test_chunks_whose_last_answers_are_slow_do_not_keep_others_out(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    one, two, three, four = [
        (await scheduler.plan([*waits, *prompts(5, name)]))[0]
        for name, waits in (("1", ["stay"]), ("2", ["stay"]), ("3", []), ("4", []))
    ]
    runners.start(options={"hang_on": "stay"}, request_timeout_s=3.0, chunks_held=2)
    await scheduler.release(one, two, three, four)
    await scheduler.completed(three)
    await scheduler.completed(four)
    assert scheduler.completion(one) is None
    assert scheduler.completion(two) is None
    assert (await scheduler.completed(one)).failed == 1


async def test_models_take_turns(scheduler: ScriptedScheduler, runners: Runners) -> None:
    """A long chunk of one model does not make the other model wait for its end."""
    [long] = await scheduler.plan(prompts(400, "long"), model="a")
    [short] = await scheduler.plan(prompts(20, "short"), model="b")
    runners.start(models=("a", "b"), window=4, options={"requests_per_s": "200"})
    await scheduler.release(long)
    await until(lambda: len(runners.served()) > 10, what="some requests")
    await scheduler.release(short)
    await scheduler.completed(short)
    assert scheduler.completion(long) is None


async def test_presence_shows_models_and_rates(
    bus: Bus, scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runner = runners.start(window=7)
    [ready] = await scheduler.plan(prompts(200))
    await scheduler.release(ready)
    await scheduler.completed(ready)

    async def shows_rates() -> bool:
        return any(m.requests_per_s for state in await present(bus) for m in state.models)

    await until(shows_rates, what="measured rates")
    [state] = await present(bus)
    [model] = state.models
    assert (state.status, state.engine, state.window) == ("ready", "sim", 7)
    assert model.name == "sim"
    assert "/v1/chat/completions" in model.endpoints
    await runner.drain()
    assert await present(bus) == []


async def test_an_endpoint_no_engine_answers(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    runners.start()
    [ready] = await scheduler.plan(prompts(3), endpoint="/v1/moderations")
    await scheduler.release(ready)
    manifest = await scheduler.completed(ready)
    assert (manifest.completed, manifest.failed, manifest.output) == (0, 3, None)
    lines = await scheduler.lines(manifest.errors)
    assert {line["error"]["code"] for line in lines} == {"endpoint_unsupported"}
