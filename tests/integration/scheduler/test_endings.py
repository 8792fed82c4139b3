"""Cancellation and expiry at every state."""

from collections import Counter
from itertools import pairwise

import msgspec
import pytest

from batch_common import subjects
from batch_common.bus import Bus
from batch_common.state import BatchStatus, ChunkState, move_batch
from support.fake_runner import FakeRunner
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
