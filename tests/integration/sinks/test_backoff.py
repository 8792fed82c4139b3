"""Three days of a receiver that refuses, by a clock that the test moves."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.config import Sinks, Webhook
from batch_common.db import Database
from batch_common.events import DeliveryFailed, decode
from batch_common.tables import outbox
from batch_sinks.deliverer import Deliverer
from batch_sinks.ended import EndedBatches
from batch_sinks.webhook import WebhookSink
from support.receiver import Receiver

from .conftest import EndBatch, FindRow, on_sqlite

HOURS_72 = Sinks().retry_for_s
HOUR = 3600.0
# A clock is not set for less.
_LEAST_S = 0.3


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It stands still unless it is set, so that a busy machine changes no pause."""
    monkeypatch.setattr("batch_sinks.deliverer._POLL_S", 0.005)
    monkeypatch.setattr(clock, "steady", lambda: 0.0)
    set_clock(clock.wall())
    yield
    clock.unset()


def set_clock(unix_s: float) -> None:
    clock.set_by(unix_s, 0.0)


@on_sqlite
async def test_seventy_two_hours_of_refusals_end_in_the_dead_letters(
    database: Database, blobs: BlobStore, receiver: Receiver, end_batch: EndBatch, find_row: FindRow
) -> None:
    receiver.answer = lambda _: receiver.plain(500)
    batch_id = await end_batch(event=False)
    began = (await find_row(batch_id)).created_at
    sink = WebhookSink(Webhook(url=receiver.url, allow_private=True))
    deliverer = Deliverer(database, sink, EndedBatches(database, blobs), HOURS_72)
    stop = asyncio.Event()
    running = asyncio.create_task(deliverer.run(stop))
    at: list[float] = []
    pauses: list[float] = []
    while (row := await find_row(batch_id)).state == "pending":
        if row.attempts > len(at) and row.claimed_until is None:
            at.append(clock.now())
            pauses.append(row.next_at - at[-1])
            set_clock(max(row.next_at, at[-1] + _LEAST_S))
            deliverer.wake.set()
        await asyncio.sleep(0.002)
        assert len(at) < 200
    stop.set()
    await asyncio.wait_for(running, 20)
    await sink.close()

    assert row.state == "failed"
    assert row.attempts == len(receiver.posts) == len(at) + 1
    assert len({post.webhook_id for post in receiver.posts}) == 1
    timestamps = [int(post.headers["webhook-timestamp"]) for post in receiver.posts]
    assert timestamps == sorted(timestamps)
    assert HOURS_72 <= timestamps[-1] - began <= HOURS_72 + 5
    steps = [min(HOUR, 2.0**n) for n in range(len(pauses))]
    for step, pause in list(zip(steps, pauses, strict=True))[:-1]:
        assert 0.5 * step <= pause <= step
    capped = [pause for step, pause in zip(steps, pauses, strict=True) if step == HOUR][:-1]
    assert len(capped) >= 60
    # Jittered: between half an hour and an hour, and no two alike.
    assert min(capped) < 0.7 * HOUR < 0.8 * HOUR < max(capped)
    assert len({round(pause) for pause in capped}) > len(capped) * 0.9

    async with database.read() as conn:
        [dead] = await conn.execute(select(outbox).where(outbox.c.stream == "DEAD"))
    said = decode(dead.body, DeliveryFailed)
    assert (dead.subject, said.batch_id, said.attempts) == ("dead.webhook", batch_id, row.attempts)
    assert said.error == "the receiver answered 500"
