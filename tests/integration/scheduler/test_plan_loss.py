"""Batches whose plan vanishes from the blob store while they run."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import update

from batch_common import clock, config
from batch_common.keys import file_content, plan_index, plan_input, plan_prefix
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, files
from support.fake_runner import FakeRunner
from support.wait import until

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]
IDS = [f"a{n}" for n in range(38)] + ["bad1", "bad2"]


async def begun(house: House, runner: FakeRunner) -> str:
    """One chunk is committed, two are handed out, ten lines are in no chunk yet."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*map(request_line, IDS))
    await runner.do(await runner.taken())

    async def released() -> bool:
        return [c.end_line for c in await house.chunks(batch_id)] == [10, 20, 30, 40]

    await until(released, what="all chunks")
    return batch_id


async def forget_input(house: House, batch_id: str) -> None:
    file_id = (await house.batch(batch_id)).input_file_id
    async with house.database.write("in a test") as conn:
        now = clock.timestamp()
        gone = update(files).where(files.c.id == file_id).values(deleted_at=now, purged_at=now)
        await conn.execute(gone)
    await house.blobs.delete([file_content(file_id)])


async def lose_plan(house: House, batch_id: str) -> None:
    keys = [info.key for info in await house.blobs.list(plan_prefix(batch_id))]
    assert len(keys) == 2
    await house.blobs.delete(keys)


@pytest.mark.parametrize("how", ["index gone", "input gone", "input torn"])
async def test_a_lost_plan_is_made_again_from_the_input(
    house: House, runner: FakeRunner, serving: Serving, how: str
) -> None:
    """Found by the release; the user has deleted the file since, its bytes are still there."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*map(request_line, [*IDS, *(f"b{n}" for n in range(20))]))
    batch = await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    await runner.do(await runner.taken())
    await house.stop_schedulers()
    async with house.database.write("in a test") as conn:
        deleted = update(files).where(files.c.id == batch.input_file_id)
        await conn.execute(deleted.values(deleted_at=clock.timestamp()))
    index, text = plan_index(batch_id, batch.plan), plan_input(batch_id, batch.plan)
    if how == "input torn":
        await house.blobs.put(text, (await house.blobs.get(text))[:-5])
    else:
        await house.blobs.delete([index if how == "index gone" else text])
    house.start_scheduler()
    whole = sum(len(request_line(one)) for one in IDS) + sum(
        len(request_line(f"b{n}")) for n in range(20)
    )

    async def whole_again() -> bool:
        found = {info.key: info.bytes for info in await house.blobs.list(plan_prefix(batch_id))}
        return found == {index: 12 * 60, text: whole}

    await until(whole_again, what="the plan")
    await serving()
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.COMPLETED, 58, 2)
    output, errors = await house.outcome(batch)
    assert len(set(output)) == 58
    assert errors == ["bad1", "bad2"]


async def test_an_unreadable_plan_is_made_again_when_the_batch_is_cancelled(
    house: House, runner: FakeRunner
) -> None:
    """Of the right size, so that nobody notices before its lines are needed."""
    batch_id = await begun(house, runner)
    batch = await house.batch(batch_id)
    key = plan_input(batch_id, batch.plan)
    await house.blobs.put(key, b"\0" * len(await house.blobs.get(key)))
    await house.cancel(batch_id)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.errors) == (BatchStatus.CANCELLED, None)
    output, errors = await house.outcome(batch)
    assert sorted(output + errors) == sorted(IDS)
    assert len(output) == 10


@pytest.mark.parametrize("end", ["running", "cancelled", "expired"])
async def test_without_plan_and_input_a_batch_ends_with_what_it_has(
    house: House, runner: FakeRunner, end: str
) -> None:
    """One chunk committed, six results of another saved; the rest nobody can name any more."""
    batch_id = await begun(house, runner)
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await runner.save(work, (await runner.results(work.ready))[:6])
    await house.stop_schedulers()
    await forget_input(house, batch_id)
    await lose_plan(house, batch_id)
    if end == "cancelled":
        await house.cancel(batch_id)
    if end == "expired":
        await house.expire(batch_id)
    house.start_scheduler()
    batch = await house.ended(batch_id)
    wanted = BatchStatus.CANCELLED if end == "cancelled" else BatchStatus.FAILED
    assert (batch.status, batch.total, batch.completed, batch.failed) == (wanted, 40, 16, 0)
    [problem] = batch.errors
    assert problem["code"] == "plan_lost"
    assert "16 of 40" in problem["message"]
    output, errors = await house.outcome(batch)
    assert (len(set(output)), errors) == (16, [])
    assert {c.state for c in await house.chunks(batch_id)} <= {
        ChunkState.COMMITTED,
        ChunkState.CLOSED,
    }
    assert await runner.claim(work) == "stop"


async def test_another_plan_does_not_take_the_place_of_the_lost_one(
    house: House, runner: FakeRunner
) -> None:
    """Ordered within other windows, chunks so far would not fit it."""
    ids = [f"p{n % 3} {n}" for n in range(60)]
    lines = [request_line(one, text=one[:2] * 400) for one in ids]
    house.start_scheduler()
    batch_id = await house.submit_lines(*lines)
    await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    await runner.do(await runner.taken())
    await house.stop_schedulers()
    await lose_plan(house, batch_id)
    small = config.Scheduler(spool_bytes=3000, poll_s=0.2, claim_ttl_s=2.0, lease_ttl_s=3.0)
    house.start_scheduler(scheduler=small)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed) == (BatchStatus.FAILED, 10)
    assert len((await house.outcome(batch))[0]) == 10


async def test_a_batch_of_the_first_release_goes_on(house: House, runner: FakeRunner) -> None:
    """Its plan has no name."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*map(request_line, IDS))
    batch = await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    await house.stop_schedulers()
    for old, new in ((plan_index, plan_index(batch_id)), (plan_input, plan_input(batch_id))):
        await house.blobs.put(new, await house.blobs.get(old(batch_id, batch.plan)))
    await lose_named_plan(house, batch_id, batch.plan)
    async with house.database.write("in a test") as conn:
        await conn.execute(update(batches).where(batches.c.id == batch_id).values(plan=None))
    await house.cancel(batch_id)
    house.start_scheduler()
    batch = await house.ended(batch_id)
    output, errors = await house.outcome(batch)
    assert (batch.status, output, errors) == (BatchStatus.CANCELLED, [], sorted(IDS))


async def lose_named_plan(house: House, batch_id: str, plan: str) -> None:
    await house.blobs.delete([plan_index(batch_id, plan), plan_input(batch_id, plan)])
