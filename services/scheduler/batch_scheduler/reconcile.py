"""Putting right what a lost message or a dead runner left: chunks that nobody works at."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import or_, select, update

from batch_common import clock, subjects
from batch_common.errors import BusUnavailableError
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks
from batch_scheduler.commit import settle
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.liveness import unclaimed
from batch_scheduler.manifests import find_manifest
from batch_scheduler.metrics import REPAIRS
from batch_scheduler.offer import offer

log = get_log(__name__)

# The relay takes a moment to bring a new chunk to its stream.
_FRESH_S: Final = 2.0
# A chunk that was handed back is delivered again at once, unless the server forgot that it was.
_HANDED_BACK_S: Final = 10.0


async def reconcile(context: Context) -> bool:
    """Repairs every released chunk without a claim and without a message."""
    for chunk in await _unclaimed(context):
        try:
            await _look_after(context, chunk)
        except BusUnavailableError as error:
            # Each of the others would wait for its own time-out.
            log.warning("chunks_not_seen", error=str(error))
            break
        except PASSING as error:
            log.warning("repair_failed", chunk=chunk.id, error=str(error))
    return False


async def _unclaimed(context: Context) -> Sequence[AnyRow]:
    now = clock.now()
    statement = select(
        chunks,
        batches.c.endpoint,
        batches.c.expires_at,
        batches.c.traceparent,
        batches.c.plan,
        batches.c.task_schema,
    ).where(
        batches.c.id == chunks.c.batch_id,
        batches.c.status == BatchStatus.IN_PROGRESS,
        batches.c.expires_at > now,
        batches.c.plan_lost_at.is_(None),
        chunks.c.state == ChunkState.RELEASED,
        # Later than now: the clock was set back.
        or_(chunks.c.released_at < now - _FRESH_S, chunks.c.released_at > now + _FRESH_S),
        unclaimed(now, context.config.scheduler.claim_ttl_s),
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


async def _look_after(context: Context, chunk: AnyRow) -> None:
    subject = subjects.chunk_ready(chunk.model, chunk.id)
    if _was_handed_back(chunk, max(context.began, clock.now() - _HANDED_BACK_S)):
        # A restart of the server lost the nak: the message sleeps until `ack_wait` ends. Whoever
        # has it after all has a claim then, or hears `busy` for the one that comes next.
        await context.bus.purge(subjects.CHUNKS, subject)
    if not await context.bus.holds(subjects.CHUNKS, subject):
        await _repair(context, chunk)


def _was_handed_back(chunk: AnyRow, before: float) -> bool:
    """And taken up by nobody since."""
    until: float | None = chunk.claimed_until
    return chunk.attempt is None and until is not None and until < before


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
        REPAIRS.labels("offered" if found is None else "committed").inc()
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
            unclaimed(now, context.config.scheduler.claim_ttl_s),
        )
        .values(generation=generation, released_at=now, attempt=None, claimed_until=None)
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
            plan=chunk.plan,
            has_schema=chunk.task_schema is not None,
        )
    return True
