"""The outbox: events are rows of the transaction that made them true."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock, cloudevents, subjects
from batch_common.db import mark_outbox
from batch_common.events import BatchEvent, ChunkReady, DeliveryFailed, encode
from batch_common.ids import new_id
from batch_common.tables import outbox


async def add_batch_event(
    conn: AsyncConnection, event: BatchEvent, source: str, traceparent: str | None
) -> str:
    """Publishes `event` after this transaction commits; returns its CloudEvents id."""
    event_id = new_id("evt_")
    await _add(conn, event_id, subjects.BATCHES, event.type, event_id, event, source, traceparent)
    return event_id


async def add_chunk_ready(
    conn: AsyncConnection, event: ChunkReady, source: str, traceparent: str | None
) -> None:
    """Offers a chunk to its model's runners after this transaction commits.

    The message id carries the generation: within the dedupe window the server swallows a
    repeated id even when the message it stood for is gone.
    """
    subject = subjects.chunk_ready(event.model, event.chunk)
    message_id = f"{event.chunk}:{event.generation}"
    await _add(
        conn, new_id("evt_"), subjects.CHUNKS, subject, message_id, event, source, traceparent
    )


async def add_delivery_failed(conn: AsyncConnection, event: DeliveryFailed, source: str) -> None:
    """Tells people of a delivery that was given up, after this transaction commits."""
    event_id = new_id("evt_")
    subject = subjects.dead(event.sink)
    await _add(conn, event_id, subjects.DEAD, subject, event_id, event, source, None)


async def _add(
    conn: AsyncConnection,
    event_id: str,
    stream: str,
    subject: str,
    message_id: str,
    event: BatchEvent | ChunkReady | DeliveryFailed,
    source: str,
    traceparent: str | None,
) -> None:
    at = clock.now()
    await conn.execute(
        insert(outbox).values(
            id=event_id,
            stream=stream,
            subject=subject,
            message_id=message_id,
            headers=cloudevents.headers(event_id, event.type, source, at, traceparent),
            body=encode(event),
            created_at=at,
        )
    )
    mark_outbox(conn)
