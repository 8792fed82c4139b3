"""The outbox and its relay, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Row, func, select, text, update

from batch_common import clock
from batch_common.bus import Bus
from batch_common.db import Database
from batch_common.errors import BusUnavailableError
from batch_common.events import BatchSubmitted, ChunkReady, decode
from batch_common.ids import new_id
from batch_common.outbox import add_batch_event, add_chunk_ready
from batch_common.relay import Relay
from batch_common.subjects import BATCHES, CHUNKS, chunk_ready
from batch_common.tables import outbox
from support.nats_process import NatsProcess
from support.wait import until

DAY_S = 86400.0


async def submit(database: Database, batches: int = 1) -> list[str]:
    made = []
    async with database.write("in a test") as conn:
        for _ in range(batches):
            event = BatchSubmitted(
                batch_id=new_id("batch_"),
                tenant="default",
                endpoint="/v1/embeddings",
                input_file_id="file-1",
                at=clock.timestamp(),
            )
            made.append(await add_batch_event(conn, event, "gateway", "00-aa-bb-01"))
    return made


async def rows(database: Database) -> Sequence[Row[Any]]:
    async with database.read() as conn:
        return (await conn.execute(select(outbox).order_by(outbox.c.id))).all()


async def unsent(database: Database) -> int:
    statement = select(func.count()).where(outbox.c.sent_at.is_(None))
    async with database.read() as conn:
        return int((await conn.execute(statement)).scalar_one())


async def change(database: Database, **values: Any) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(update(outbox).values(**values))


def all_sent(database: Database) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await unsent(database) == 0

    return condition


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(relay.run(stop)) for relay in relays]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 15)


async def test_what_is_committed_is_published(database: Database, bus: Bus) -> None:
    [event_id] = await submit(database)
    assert await Relay(database, bus).send_page() is False
    message = await bus.js.get_last_msg(BATCHES, "batch.submitted")
    headers = message.headers or {}
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == event_id
    assert headers["ce-type"] == "batch.submitted"
    assert headers["ce-source"] == "/vllm-batch/gateway"
    assert headers["traceparent"] == "00-aa-bb-01"
    assert decode(message.data or b"", BatchSubmitted).tenant == "default"
    [row] = await rows(database)
    head = await bus.stream_head(BATCHES)
    assert (row.stream_created, row.seq) == (head.created, 1)
    assert row.sent_at is not None


async def test_what_is_rolled_back_is_not(database: Database, bus: Bus) -> None:
    class StopHereError(Exception):
        pass

    async def fail() -> None:
        async with database.write("in a test") as conn:
            event = BatchSubmitted(
                batch_id="batch_1", tenant="t", endpoint="/v1/x", input_file_id="f", at=1
            )
            await add_batch_event(conn, event, "gateway", None)
            raise StopHereError

    with pytest.raises(StopHereError):
        await fail()
    assert not database.committed.is_set()
    await Relay(database, bus).send_page()
    assert (await bus.stream_head(BATCHES)).messages == 0


async def test_a_commit_wakes_the_relay(
    database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch_common.relay._POLL_S", 600.0)
    async with running(Relay(database, bus)):
        await asyncio.sleep(0.1)  # it is in its long pause now
        await submit(database)
        await until(all_sent(database), within_s=5)


async def test_rows_of_another_process_are_found_by_the_poll(database: Database, bus: Bus) -> None:
    async with running(Relay(database, bus)):
        await submit(database)
        database.committed.clear()
        await until(all_sent(database), within_s=5)


async def test_killed_between_publish_and_mark_the_stream_drops_the_repeat(
    database: Database, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Race: the stream has the message, the row does not know it, the relay is gone."""
    await submit(database)
    first = Relay(database, bus)

    async def die(_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(first, "_mark", die)
    with pytest.raises(asyncio.CancelledError):
        await first.send_page()
    second = Relay(database, bus)
    assert await second.send_page() is False
    assert await unsent(database) == 1, "the claim keeps others away"
    await change(database, claimed_until=clock.now() - 0.1)
    await second.send_page()
    assert await unsent(database) == 0
    assert (await bus.stream_head(BATCHES)).messages == 1


async def test_a_claim_from_the_future_is_void(database: Database, bus: Bus) -> None:
    """The clock was an hour ahead when it was made; whoever made it may be dead."""
    await submit(database)
    await change(database, claimed_until=clock.now() + 3600)
    await Relay(database, bus).send_page()
    assert await unsent(database) == 0


async def test_two_relays_share_the_work(database: Database, bus: Bus) -> None:
    await submit(database, 450)
    async with running(Relay(database, bus), Relay(database, bus)):
        await until(all_sent(database), within_s=30)
    assert (await bus.stream_head(BATCHES)).messages == 450
    assert len({row.seq for row in await rows(database)}) == 450


async def test_what_could_not_be_sent_is_free_at_once(
    database: Database, bus: Bus, nats_process: NatsProcess
) -> None:
    await submit(database, 3)
    await nats_process.stop()
    relay = Relay(database, bus)
    with pytest.raises(BusUnavailableError):
        await relay.send_page()
    assert {row.claimed_until for row in await rows(database)} == {0.0}
    async with running(relay):
        await nats_process.start()
        await until(all_sent(database), within_s=20)
    assert (await bus.stream_head(BATCHES)).messages == 3


async def test_a_lost_store_gets_its_events_again(
    database: Database, bus: Bus, nats_process: NatsProcess
) -> None:
    events = await submit(database, 3)
    relay = Relay(database, bus)
    await relay.send_page()
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    await bus.ensure_topology()
    await relay.audit_once()
    assert await unsent(database) == 3
    await relay.send_page()
    stored = [await bus.js.get_msg(BATCHES, seq) for seq in (1, 2, 3)]
    assert sorted((message.headers or {})["ce-id"] for message in stored) == sorted(events)
    await relay.audit_once()
    assert await unsent(database) == 0


async def test_a_stream_that_lost_its_end_gets_it_again(database: Database, bus: Bus) -> None:
    """An older copy of the store was restored: same stream, smaller last sequence."""
    await submit(database, 2)
    relay = Relay(database, bus)
    await relay.send_page()
    last = (await rows(database))[1].id
    async with database.write("in a test") as conn:
        await conn.execute(update(outbox).where(outbox.c.id == last).values(seq=3))
    await relay.audit_once()
    assert [row.sent_at is None for row in await rows(database)] == [False, True]
    assert database.committed.is_set()


async def test_old_rows_are_forgotten_and_unsent_ones_never(database: Database, bus: Bus) -> None:
    await submit(database, 2)
    relay = Relay(database, bus)
    await relay.send_page()
    [unsent_id] = await submit(database)
    old, _, waiting = await rows(database)
    async with database.write("in a test") as conn:
        aged = update(outbox).where(outbox.c.id == old.id)
        await conn.execute(aged.values(sent_at=clock.now() - 8 * DAY_S))
        aged = update(outbox).where(outbox.c.id == waiting.id)
        await conn.execute(aged.values(created_at=clock.now() - 90 * DAY_S))
    await relay.audit_once()
    left = [row.id for row in await rows(database)]
    assert old.id not in left
    assert unsent_id in left
    assert len(left) == 2


async def test_chunks_are_offered_once_and_not_by_the_audit(
    database: Database, bus: Bus, nats_process: NatsProcess
) -> None:
    ready = ChunkReady(
        chunk="chunk_1",
        generation=1,
        batch_id="batch_1",
        model="a/b",
        endpoint="/v1/embeddings",
        input_key="i",
        index_key="x",
        first_line=0,
        end_line=1,
        first_byte=0,
        end_byte=1,
        prefix="p/",
        deadline=1,
    )
    relay = Relay(database, bus)
    for _ in range(2):
        async with database.write("in a test") as conn:
            await add_chunk_ready(conn, ready, "scheduler", None)
        await relay.send_page()
    assert await bus.holds(CHUNKS, chunk_ready("a/b", "chunk_1"))
    assert (await bus.stream_head(CHUNKS)).messages == 1
    assert await unsent(database) == 0
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0)
    await bus.ensure_topology()
    await relay.audit_once()
    assert await unsent(database) == 0


@pytest.mark.parametrize("database_settings", ["postgres"], indirect=True)
async def test_a_relay_survives_a_database_that_drops_its_connections(
    database: Database, bus: Bus
) -> None:
    relay = Relay(database, bus)
    async with running(relay):
        await submit(database)
        await until(all_sent(database))
        async with database.engine.connect() as conn:
            await conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        await submit(database, 5)
        await until(all_sent(database))
    assert (await bus.stream_head(BATCHES)).messages == 6
