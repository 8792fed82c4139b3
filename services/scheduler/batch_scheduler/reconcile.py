"""Putting right what a lost message or a dead runner left: chunks that nobody works at."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import or_, select, update

from batch_common import clock, subjects
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks
from batch_scheduler.commit import settle
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.manifests import find_manifest
from batch_scheduler.metrics import CHUNKS
from batch_scheduler.offer import offer

log = get_log(__name__)

# The relay takes a moment to bring a new chunk to its stream.
_FRESH_S: Final = 2.0


async def reconcile(context: Context) -> bool:
    """Repairs every released chunk without a claim and without a message."""
    for chunk in await _unclaimed(context):
        subject = subjects.chunk_ready(chunk.model, chunk.id)
        try:
            if not await context.bus.holds(subjects.CHUNKS, subject):
                await _repair(context, chunk)
        except PASSING as error:
            log.warning("repair_failed", chunk=chunk.id, error=str(error))
    return False


async def _unclaimed(context: Context) -> Sequence[AnyRow]:
    now = clock.now()
    statement = select(
        chunks, batches.c.endpoint, batches.c.expires_at, batches.c.traceparent
    ).where(
        batches.c.id == chunks.c.batch_id,
        batches.c.status == BatchStatus.IN_PROGRESS,
        batches.c.expires_at > now,
        chunks.c.state == ChunkState.RELEASED,
        chunks.c.released_at < now - _FRESH_S,
        _dead_claim(now),
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


def _dead_claim(now: float) -> Any:
    return or_(chunks.c.claimed_until.is_(None), chunks.c.claimed_until < now)


async def _repair(context: Context, chunk: AnyRow) -> None:
    """Commits what a finished attempt has left, or offers the chunk again.

    A runner writes the manifest before it publishes the completion, and publishes before it
    acks. So once the message is gone, either the manifest is there or the message was lost; a
    completion that still waits in its stream then finds the chunk settled.
    """
    found = await find_manifest(context.blobs, chunk)
    if found is not None:
        key, manifest = found
        settled = await settle(context, chunk, manifest, key)
    else:
        settled = await _offer_again(context, chunk)
    if settled:
        CHUNKS.labels("repaired").inc()
        log.warning("chunk_repaired", chunk=chunk.id, again=found is None)


async def _offer_again(context: Context, chunk: AnyRow) -> bool:
    """Under the next generation: the stream would swallow the old message id.

    False when somebody has claimed or settled the chunk since.
    """
    now, generation = clock.now(), chunk.generation + 1
    statement = (
        update(chunks)
        .where(
            chunks.c.id == chunk.id,
            chunks.c.state == ChunkState.RELEASED,
            chunks.c.generation == chunk.generation,
            _dead_claim(now),
        )
        .values(generation=generation, released_at=now)
    )
    async with context.database.write("chunk offer again") as conn:
        if not (await conn.execute(statement)).rowcount:
            return False
        await offer(
            conn,
            {**chunk._mapping, "generation": generation},  # noqa: SLF001 - public in SQLAlchemy
            endpoint=chunk.endpoint,
            deadline=chunk.expires_at,
            traceparent=chunk.traceparent,
        )
    return True
