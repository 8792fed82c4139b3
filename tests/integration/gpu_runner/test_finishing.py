"""The last steps of a chunk: what its manifest names, and what comes before what."""

from collections.abc import Iterator

import pytest

from batch_common import crash_points, keys
from batch_common.crash_points import Side
from batch_common.formats.result import Response, ResultLine, encode_result, result_id
from batch_common.formats.segment import Record, Segment, encode_segment
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

SLOW = {"requests_per_s": "30"}


@pytest.fixture
def steps() -> Iterator[list[str]]:
    """Every durable step of this process, once it is made."""
    made: list[str] = []

    async def note(name: str, side: Side) -> None:
        if side is Side.AFTER:
            made.append(name)

    crash_points.install(note)
    yield made
    crash_points.install(None)


async def test_first_the_results_then_the_completion_then_the_ack(
    scheduler: ScriptedScheduler, runners: Runners, steps: list[str]
) -> None:
    """Dead between any two of them, the chunk is delivered again or its completion is there."""
    [ready] = await scheduler.plan([f"q {number}" for number in range(20)])
    await scheduler.release(ready)
    runners.start()
    await scheduler.completed(ready)
    await until(lambda: "ack CHUNKS" in steps, what="the ack")
    order = [
        steps.index(step)
        for step in (
            "put segment",
            "put chunk output",
            "put chunk manifest",
            "publish chunk.completed",
            "ack CHUNKS",
        )
    ]
    assert order == sorted(order)
    last = len(steps) - 1 - steps[::-1].index("put segment")
    assert last < steps.index("put chunk output"), "everything is durable before it is gathered"


async def test_a_manifest_names_no_segment_that_came_later_from_another(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """A zombie saves meanwhile: what was counted without it must not be gathered with it."""
    [ready] = await scheduler.plan([f"q {number}" for number in range(100)])
    await scheduler.release(ready)
    runners.start(options=SLOW, flush_results=10)
    await until(lambda: any(c.completed >= 10 for c in scheduler.claims), what="progress")
    # Its attempt is older than ours, and has failed every line.
    response = Response(400, "req_z", b"{}")  # type: ignore[arg-type]
    records = [
        Record(line, False, encode_result(_line(ready.batch_id, line, response)))
        for line in range(100)
    ]
    key = keys.segment(ready.prefix, "att_0", 1)
    await scheduler.blobs.put(key, encode_segment(Segment(ready.chunk, "att_0", records)))
    assert not scheduler.completions, "it came while the chunk was worked at"
    manifest = await scheduler.completed(ready)
    assert key not in manifest.segments
    assert (manifest.completed, manifest.failed, manifest.errors) == (100, 0, None)
    lines = await scheduler.lines(manifest.output)
    assert sorted(line["custom_id"] for line in lines) == sorted(f"r{n}" for n in range(100))


def _line(batch_id: str, line: int, response: Response) -> ResultLine:
    return ResultLine(result_id(batch_id, line + 1), f"r{line}", response, None)


async def test_a_result_has_the_same_id_in_every_attempt(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Else a client that reads results while a batch runs would take a repeat for a new one."""
    prompts = ["stay", *(f"q {number}" for number in range(59))]
    [ready] = await scheduler.plan(prompts)
    await scheduler.release(ready)
    first = runners.start(options={"hang_on": "stay"}, flush_results=10)
    await until(lambda: any(c.completed >= 20 for c in scheduler.claims), what="progress")
    await first.kill()
    runners.start(flush_results=10)
    manifest = await scheduler.completed(ready)
    lines = await scheduler.lines(manifest.output)
    assert len({key.split("/")[-2] for key in manifest.segments}) == 2, "of two attempts"
    # The user's file had the lines the other way round.
    expected = {f"r{at}": result_id(ready.batch_id, len(prompts) - at) for at in range(60)}
    assert {line["custom_id"]: line["id"] for line in lines} == expected
