"""Cancellation and expiry at every state."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from batch_common import clock, crash_points, subjects
from batch_common.bus import Bus
from batch_common.crash_points import Side
from batch_common.keys import plan_prefix
from batch_common.state import TERMINAL, BatchStatus, ChunkState, IllegalMoveError, move_batch
from batch_scheduler import close
from batch_scheduler.collect import collect
from batch_scheduler.context import Context
from support.fake_runner import FakeRunner
from support.nats_process import NatsProcess
from support.wait import until

from .conftest import House, request_line

LINES = [f"a{n}" for n in range(47)] + ["bad1", "bad2", "bad3"]


async def half_done(house: House, runner: FakeRunner) -> str:
    """One chunk committed, one claimed with results saved, one waiting, the rest unreleased."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*map(request_line, LINES))
    await runner.do(await runner.taken())
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    records = await runner.results(work.ready)
    await runner.save(work, records[:4], 1)
    await runner.save(work, records[2:6], 2)
    return batch_id


async def check_partial(house: House, batch_id: str, status: BatchStatus, code: str) -> None:
    batch = await house.ended(batch_id)
    assert (batch.status, batch.total) == (status, 50)
    output, errors = await house.outcome(batch)
    assert sorted(output + errors) == sorted(LINES), "each custom_id exactly once"
    assert (batch.completed, batch.failed) == (16, 0)
    assert len(output) == 16
    why = Counter(
        line["error"] and line["error"]["code"] for line in await house.results(batch.error_file_id)
    )
    assert why == {code: 34}
    assert batch.finalizing_at is None
    numbers = [
        int(line["id"].rpartition("_")[2]) for line in await house.results(batch.error_file_id)
    ]
    assert len(set(numbers)) == 34
    chunks = await house.chunks(batch_id)
    assert sorted(c.commit_seq for c in chunks) == list(range(1, len(chunks) + 1))
    assert chunks[0].first_line == 0
    for one, other in pairwise(chunks):
        assert (one.end_line, one.end_byte) == (other.first_line, other.first_byte)
    assert chunks[-1].end_line == 50


async def test_a_cancelled_batch_keeps_what_was_saved(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    """The claimed chunk is closed once its claim has run out."""
    batch_id = await half_done(house, runner)
    await house.cancel(batch_id)
    await check_partial(house, batch_id, BatchStatus.CANCELLED, "batch_cancelled")
    assert (await bus.stream_head(subjects.CHUNKS)).messages == 0


async def test_an_expired_batch_keeps_what_was_saved(house: House, runner: FakeRunner) -> None:
    batch_id = await half_done(house, runner)
    await house.expire(batch_id)
    await check_partial(house, batch_id, BatchStatus.EXPIRED, "batch_expired")


async def test_a_runner_that_lets_go_ends_the_wait(house: House, runner: FakeRunner) -> None:
    patient = msgspec.structs.replace(house.config.scheduler, claim_ttl_s=600.0)
    house.start_scheduler(scheduler=patient)
    batch_id = await house.submit_lines(*map(request_line, LINES))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await house.cancel(batch_id)

    async def told() -> bool:
        return await runner.claim(work) == "stop"

    await until(told, what="stop")
    await runner.save(work, (await runner.results(work.ready))[:3])
    assert (await house.batch(batch_id)).status == BatchStatus.CANCELLING
    await runner.claim(work, completed=3, released=True)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed) == (BatchStatus.CANCELLED, 3)


async def test_a_finished_attempt_is_kept_whole_when_its_batch_is_cancelled(
    house: House, runner: FakeRunner
) -> None:
    """Cancelled between the manifest and its completion."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(10)))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await runner.finish(work, await runner.results(work.ready))
    await house.cancel(batch_id)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed, batch.error_file_id) == (
        BatchStatus.CANCELLED,
        10,
        None,
    )
    assert [c.state for c in await house.chunks(batch_id)] == [ChunkState.COMMITTED]


async def test_a_zombies_completion_after_the_end_changes_nothing(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    batch_id = await half_done(house, runner)
    await house.cancel(batch_id)
    await house.ended(batch_id)
    before = await house.batch(batch_id)
    [zombie] = [c for c in await house.chunks(batch_id) if c.completed == 6]
    assert zombie.state == ChunkState.CLOSED
    await bus.publish(
        subjects.CHUNK_COMPLETED,
        b'{"chunk":"%s","generation":1,"attempt":"att_z","manifest_key":"%s"}'
        % (zombie.id.encode(), zombie.manifest_key.encode()),
        "zombie",
        {},
    )

    async def empty() -> bool:
        return (await bus.stream_head(subjects.RESULTS)).messages == 0

    await until(empty, what="RESULTS to be empty")
    assert await house.batch(batch_id) == before


@pytest.mark.parametrize("how", ["cancel", "expire"])
async def test_a_batch_that_was_never_planned_ends_without_files(house: House, how: str) -> None:
    batch_id = await house.submit_lines(request_line("a"))
    if how == "cancel":
        await house.cancel(batch_id)
    else:
        await house.expire(batch_id)
    house.start_scheduler()
    batch = await house.ended(batch_id)
    wanted = BatchStatus.CANCELLED if how == "cancel" else BatchStatus.EXPIRED
    assert (batch.status, batch.total, batch.output_file_id, batch.error_file_id) == (
        wanted,
        0,
        None,
        None,
    )


async def test_cancelling_what_is_finalizing_keeps_all_results(
    house: House, runner: FakeRunner
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(request_line("a"), request_line("bad"))
    work = await runner.taken()
    key = await runner.finish(work, await runner.results(work.ready))
    await house.stop_schedulers()
    async with house.database.write("in a test") as conn:
        source, target = BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING
        assert await move_batch(conn, batch_id, source, target, 1)
    await house.cancel(batch_id)
    await runner.publish(work, key)
    house.start_scheduler()
    batch = await house.ended(batch_id)
    assert batch.status == BatchStatus.CANCELLED
    assert await house.outcome(batch) == (["a"], ["bad"])


async def test_every_result_before_the_end_of_the_window_is_completed(
    house: House, runner: FakeRunner
) -> None:
    """Past its window with nothing left to do, a batch has not expired."""
    house.start_scheduler()
    batch_id = await house.submit_lines(request_line("a"))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await runner.finish(work, await runner.results(work.ready))
    await house.expire(batch_id)
    assert (await house.ended(batch_id)).status == BatchStatus.COMPLETED


async def test_a_batch_that_is_cancelled_while_nats_is_away(
    house: House, runner: FakeRunner, nats_process: NatsProcess
) -> None:
    """Messages that could not be withdrawn: whoever finds one later is told to stop."""
    batch_id = await half_done(house, runner)
    await nats_process.stop()
    await house.cancel(batch_id)

    async def unclaimed() -> bool:
        return all(not is_claimed(c) for c in await house.chunks(batch_id))

    await until(unclaimed, what="the end of the claim")
    await nats_process.start()
    await until(lambda: runner.bus.epoch > 0, what="the reconnection")
    await check_partial(house, batch_id, BatchStatus.CANCELLED, "batch_cancelled")
    if work := await runner.take():
        assert await runner.claim(work) == "stop"


def is_claimed(chunk: Any) -> bool:
    return chunk.claimed_until is not None and chunk.claimed_until > clock.now()


async def test_cancelled_between_its_plan_and_its_start(
    house: House, crash_hook: Callable[[crash_points.Hook], None]
) -> None:
    """Half-validated: the plan that nobody needs goes at once."""
    planned, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(name: str, side: Side) -> None:
        if (name, side) == ("put plan", Side.AFTER) and not planned.is_set():
            planned.set()
            await cancelled.wait()

    crash_hook(wait)
    house.start_scheduler()
    batch_id = await house.submit_lines(request_line("a"))
    await asyncio.wait_for(planned.wait(), 20)
    await house.cancel(batch_id)
    batch = await house.ended(batch_id)
    cancelled.set()
    assert (batch.status, batch.error_file_id) == (BatchStatus.CANCELLED, None)

    async def clean() -> bool:
        return not await house.blobs.list(plan_prefix(batch_id))

    await until(clean, what="the plan's removal")
    assert await house.batch(batch_id) == batch


async def test_cancelled_while_its_files_are_made(
    house: House, runner: FakeRunner, crash_hook: Callable[[crash_points.Hook], None]
) -> None:
    """Finalizing, with the output file's content written and its row not."""
    writing, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(name: str, side: Side) -> None:
        if (name, side) == ("put results", Side.AFTER) and not writing.is_set():
            writing.set()
            await cancelled.wait()

    crash_hook(wait)
    house.start_scheduler()
    batch_id = await house.submit_lines(request_line("a"), request_line("bad"))
    await runner.do(await runner.taken())
    await asyncio.wait_for(writing.wait(), 20)
    await house.cancel(batch_id)
    cancelled.set()
    batch = await house.ended(batch_id)
    assert batch.status == BatchStatus.CANCELLED
    assert await house.outcome(batch) == (["a"], ["bad"])


async def test_a_zombies_manifest_after_the_expiry_is_not_taken(
    house: House, runner: FakeRunner, context: Context
) -> None:
    """It goes on writing when its chunk is closed; what it leaves is collected."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(10)))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    records = await runner.results(work.ready)
    await runner.save(work, records[:3])
    await house.expire(batch_id)
    batch = await house.ended(batch_id)

    async def swept() -> bool:
        return all(c.swept_at for c in await house.chunks(batch_id))

    await until(swept, what="the sweep")
    before = {info.key for info in await house.blobs.list(work.ready.prefix)}
    await runner.save(work, records[3:], 2)
    await runner.publish(work, await runner.finish(work, records))

    async def consumed() -> bool:
        return (await runner.bus.stream_head(subjects.RESULTS)).messages == 0

    await until(consumed, what="RESULTS to be empty")
    assert await house.batch(batch_id) == batch
    output, errors = await house.outcome(batch)
    assert (len(output), len(errors)) == (3, 7)
    await collect(context, float("inf"))
    assert {info.key for info in await house.blobs.list(work.ready.prefix)} == before
    assert await house.outcome(batch) == (output, errors)


async def test_cancelled_by_a_gateway_whose_clock_is_late(
    house: House, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not know that the window was over: so no line may say yet that the batch expired."""
    monkeypatch.setattr(close, "_AGREED_S", 60.0)
    small = msgspec.structs.replace(house.config.scheduler, chunk_max_requests=5)
    house.start_scheduler(scheduler=small)
    batch_id = await house.submit_lines(*map(request_line, LINES))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await house.expire(batch_id)
    assert await runner.claim(work) == "stop"
    await asyncio.sleep(0.3)  # some looks of the scheduler's: nothing is to happen
    assert all(c.state == ChunkState.RELEASED for c in await house.chunks(batch_id))
    await house.cancel(batch_id)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.output_file_id) == (BatchStatus.CANCELLED, None)
    lines = await house.results(batch.error_file_id)
    assert sorted(line["custom_id"] for line in lines) == sorted(LINES)
    assert {line["error"]["code"] for line in lines} == {"batch_cancelled"}


@pytest.mark.parametrize("seed", range(3))
async def test_cancel_expiry_and_completion_race(
    house: House, serving: Callable[..., Awaitable[FakeRunner]], seed: int
) -> None:
    """Whichever comes first, each line ends in exactly one file."""
    rng = random.Random(seed)
    house.start_scheduler()
    await serving()
    ids = [await house.submit_lines(*map(request_line, LINES)) for _ in range(4)]

    async def meddle(batch_id: str) -> None:
        await house.reached(batch_id, BatchStatus.IN_PROGRESS, *TERMINAL)
        await asyncio.sleep(rng.uniform(0, 0.5))
        for act in rng.sample([house.cancel, house.expire], rng.randint(1, 2)):
            with suppress(AssertionError, IllegalMoveError):  # it has ended, or was moved just now
                await act(batch_id)

    await asyncio.gather(*map(meddle, ids))
    for batch_id in ids:
        batch = await house.ended(batch_id)
        output, errors = await house.outcome(batch)
        assert sorted(output + errors) == sorted(LINES), batch.status
        assert batch.completed == len(output)
