"""Two that act on the same row, one of them on what it read before the other's commit."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch_common import clock as database_clock
from batch_common.db import Database
from batch_common.events import ChunkReady, decode
from batch_common.formats.manifest import Manifest
from batch_common.keys import chunk_manifest, chunk_prefix
from batch_common.state import BatchStatus, ChunkState
from batch_common.subjects import CHUNKS, chunk_ready
from batch_scheduler.close import close
from batch_scheduler.commit import find_chunk, settle
from batch_scheduler.cut import cut_span
from batch_scheduler.finalise import finalise
from batch_scheduler.lease import Lease
from batch_scheduler.manifests import find_manifest, read_manifest
from batch_scheduler.reach import Reach
from batch_scheduler.reconcile import reconcile
from batch_scheduler.sweep import sweep_batches
from support.world import clock, template
from support.world.attempts import Attempt
from support.world.check import Checker
from support.world.clock import Clock
from support.world.trouble import Trouble, troubled
from support.world.world import CLAIM_S, World

LINES = [("m", False)] * 6 + [("m", True)] * 2


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template.make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock.install(monkeypatch)


@pytest.fixture
async def world(tmp_path: Path, migrated: Path, hands: Clock) -> AsyncIterator[World]:
    shutil.copy(migrated, tmp_path / "batches.db")
    made = World(tmp_path)
    yield made
    await made.close()


async def planned(world: World) -> str:
    batch_id = await world.submit(LINES)
    await world.schedulers[0].validate()
    return batch_id


async def in_hand(world: World) -> tuple[str, Attempt]:
    """One chunk is offered, and begun."""
    batch_id = await planned(world)
    await world.schedulers[0].releaser.release()
    await world.schedulers[0].relay.send_page()
    attempt = Attempt(world.streams, world.blobs, next(iter(world.streams.ready.values())))
    await attempt.begin()
    return batch_id, attempt


async def read(database: Database, chunk: str) -> Any:
    found = await find_chunk(database, chunk)
    assert found is not None
    return found


async def manifest_of(world: World, chunk: Any) -> tuple[str, Manifest]:
    found = await find_manifest(world.blobs, chunk)
    assert found is not None
    return found


async def test_of_two_that_commit_a_chunk_one_counts(world: World) -> None:
    """Race: both schedulers read the row, then both settle."""
    batch_id, attempt = await in_hand(world)
    await attempt.save(10)
    await attempt.finish()
    stale = await read(world.database, attempt.ready.chunk)
    key, manifest = await manifest_of(world, stale)
    one, other = (scheduler.context for scheduler in world.schedulers)
    assert await settle(one, stale, manifest, key)
    assert not await settle(other, stale, manifest, key)
    batch = await world.batch(batch_id)
    assert (batch.completed, batch.failed, batch.commits) == (3, 0, 1)
    await Checker(world).check()


async def test_a_commit_that_comes_after_the_close_changes_nothing(
    world: World, hands: Clock
) -> None:
    """Race: the runner was given up, the chunk closed; then its completion is committed."""
    batch_id, attempt = await in_hand(world)
    stale = await read(world.database, attempt.ready.chunk)
    await attempt.save(1)
    await world.cancel(batch_id)
    hands.forward(CLAIM_S + 1)
    await close(world.schedulers[0].context)
    closed = await read(world.database, stale.id)
    assert (closed.state, closed.completed) == (ChunkState.CLOSED, 1)
    before = await world.batch(batch_id)
    await attempt.save(10)
    await attempt.finish()
    key = chunk_manifest(chunk_prefix(batch_id, stale.id), attempt.name)
    late = await read_manifest(world.blobs, key, stale)
    assert not await settle(world.schedulers[1].context, stale, late, key)
    await world.commit(world.streams.completions[0])
    assert await world.batch(batch_id) == before
    assert await read(world.database, stale.id) == closed


async def test_what_another_scheduler_has_released_is_not_released_again(world: World) -> None:
    """Race: both cut the same lines; the second finds the span moved on, and goes on."""
    batch_id = await planned(world)
    one, other = world.schedulers
    waiting, _ = await other.releaser._look()
    stale = await cut_span(other.context, waiting[0], 2, 1 << 20)
    await one.releaser.release()
    assert await other.releaser._hand_out([stale]) == 0
    ends = [(chunk.first_line, chunk.end_line) for chunk in world.rows("chunks", "first_line")]
    assert ends == [(0, 3), (3, 6)]
    await Checker(world).check()
    assert (await world.batch(batch_id)).status == BatchStatus.IN_PROGRESS


async def test_a_batch_with_a_chunk_in_hand_is_not_finalised(world: World) -> None:
    """Every line is released, one chunk is not settled."""
    batch_id = await planned(world)
    for _ in range(2):
        await world.schedulers[0].releaser.release()
        await world.schedulers[0].relay.send_page()
        for message in list(world.streams.ready.values())[:2]:
            attempt = Attempt(world.streams, world.blobs, message)
            await attempt.begin()
            if attempt.ready.first_line < 6:
                await attempt.save(10)
                await attempt.finish()
        while world.streams.completions:
            await world.commit(world.streams.completions.pop())
    assert [c.state for c in world.rows("chunks", "first_line")] == [
        "committed",
        "committed",
        "released",
    ]
    await finalise(world.schedulers[0].context)
    assert (await world.batch(batch_id)).status == BatchStatus.IN_PROGRESS


async def test_a_released_chunk_is_offered_by_its_own_transaction(world: World) -> None:
    """Whoever dies after the commit leaves the event beside the row."""
    await planned(world)
    with troubled(Trouble("die", 1)):
        await world.schedulers[0].releaser.release()
    released = world.rows("chunks")
    assert released, "it died after the commit"
    offered = [row.subject for row in world.rows("outbox") if row.stream == CHUNKS]
    assert sorted(offered) == sorted(chunk_ready(row.model, row.id) for row in released)


async def test_nothing_is_released_of_a_batch_that_was_just_cancelled(world: World) -> None:
    """Race: cut before the cancellation, handed out after it."""
    batch_id = await planned(world)
    one = world.schedulers[0]
    waiting, _ = await one.releaser._look()
    stale = await cut_span(one.context, waiting[0], 2, 1 << 20)
    await world.cancel(batch_id)
    assert await one.releaser._hand_out([stale]) == 0
    assert world.rows("chunks") == []


async def test_a_lease_has_one_holder_at_a_time(world: World) -> None:
    """The epoch tells one tenure from the next."""
    one, other = (_lease(world, name) for name in ("one", "other"))
    stop = asyncio.Event()
    assert await one.acquire(stop)
    waiting = asyncio.create_task(other.acquire(stop))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await asyncio.shield(waiting)
    [row] = world.rows("leases")
    assert (row.holder, row.epoch) == ("one", 1)
    await one.give_back()
    async with asyncio.timeout(10):
        assert await waiting
    [row] = world.rows("leases")
    assert (row.holder, row.epoch) == ("other", 2)


def _lease(world: World, name: str) -> Lease:
    return Lease(world.database, name, 60.0, Reach(world.streams, 60.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_a_batch_cut_short_keeps_results_and_lists_each_other_line_once(
    world: World, hands: Clock, how: str
) -> None:
    """One chunk is half saved, one waits, the rest was never released."""
    batch_id, attempt = await in_hand(world)
    await attempt.save(1)
    if how == "cancelled":
        await world.cancel(batch_id)
    else:
        await world.expire(batch_id)
    hands.forward(CLAIM_S + 1)
    context = world.schedulers[0].context
    while await close(context):
        pass
    await finalise(context)
    await Checker(world).check()
    batch = await world.batch(batch_id)
    assert (batch.status, batch.completed, batch.failed) == (how, 1, 0)


async def test_what_a_chunk_in_hand_has_saved_is_not_swept(world: World) -> None:
    _, attempt = await in_hand(world)
    await attempt.save(2)
    before = {info.key for info in await world.blobs.list(attempt.ready.prefix)}
    await sweep_batches(world.schedulers[0].context)
    assert {info.key for info in await world.blobs.list(attempt.ready.prefix)} == before
    assert before


async def test_of_two_that_claim_a_chunk_one_may_go(world: World) -> None:
    """A message that was delivered twice: the second attempt comes back later."""
    _, attempt = await in_hand(world)
    rival = Attempt(world.streams, world.blobs, attempt.message)
    assert await world.claim(attempt) == "go"
    assert await world.claim(rival) == "busy"
    assert await world.claim(attempt) == "go"


async def test_a_chunk_that_was_let_go_is_free_at_once(world: World) -> None:
    """However far the next scheduler's clock is behind the one that noted it."""
    _, attempt = await in_hand(world)
    assert await world.claim(attempt) == "go"
    await world.claim(attempt, released=True)
    assert await world.claim(Attempt(world.streams, world.blobs, attempt.message)) == "go"


async def test_a_lost_chunk_is_offered_under_a_new_id(world: World, hands: Clock) -> None:
    """Within its window the server would swallow a second message of the old one."""
    _, attempt = await in_hand(world)
    del world.streams.ready[attempt.message.subject]
    hands.forward(60)
    await reconcile(world.schedulers[0].context)
    await world.schedulers[0].relay.send_page()
    offered = decode(world.streams.ready[attempt.message.subject].body, ChunkReady)
    assert offered.generation == attempt.ready.generation + 1


async def test_a_chunk_whose_hand_back_the_server_forgot_is_offered_again(
    world: World, hands: Clock
) -> None:
    """A restart of NATS loses a nak, and the message would sleep until `ack_wait` ends."""
    _, attempt = await in_hand(world)
    assert await world.claim(attempt) == "go"
    await world.claim(attempt, released=True)
    context = world.schedulers[0].context

    async def generation() -> int:
        await reconcile(context)
        await world.schedulers[0].relay.send_page()
        return decode(world.streams.ready[attempt.message.subject].body, ChunkReady).generation

    hands.forward(5)  # as a rule it is delivered at once, and taken up
    assert await generation() == attempt.ready.generation
    hands.forward(10)
    assert await generation() == attempt.ready.generation + 1


async def test_what_was_handed_back_before_a_restart_of_all_is_offered_at_once(
    world: World, hands: Clock
) -> None:
    """As of `vllm-batch run`, ended and typed again: else its first seconds would be idle."""
    _, attempt = await in_hand(world)
    assert await world.claim(attempt) == "go"
    await world.claim(attempt, released=True)
    hands.forward(3)
    context = msgspec.structs.replace(world.schedulers[0].context, began=database_clock.now())
    await reconcile(context)
    await world.schedulers[0].relay.send_page()
    offered = decode(world.streams.ready[attempt.message.subject].body, ChunkReady)
    assert offered.generation == attempt.ready.generation + 1


async def test_a_chunk_is_not_closed_under_its_runner(world: World, hands: Clock) -> None:
    """It hears `stop`, saves what it has, and lets go; only then is the chunk closed."""
    batch_id, attempt = await in_hand(world)
    assert await world.claim(attempt) == "go"
    await world.cancel(batch_id)
    context = world.schedulers[0].context
    await close(context)
    assert (await read(world.database, attempt.ready.chunk)).state == ChunkState.RELEASED
    assert await world.claim(attempt) == "stop"
    await attempt.save(2)
    await world.claim(attempt, released=True)
    hands.forward(0.1)
    await close(context)
    closed = await read(world.database, attempt.ready.chunk)
    assert (closed.state, closed.completed) == (ChunkState.CLOSED, 2)
