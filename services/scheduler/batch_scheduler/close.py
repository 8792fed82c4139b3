"""Ending batches early: finished results are kept, every other line is an error.

Of a batch whose plan is lost there is nothing to list the other lines from.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import and_, insert, or_, select, update

from batch_common import clock, subjects
from batch_common.errors import BusUnavailableError
from batch_common.formats.manifest import Manifest
from batch_common.formats.result import BATCH_CANCELLED, BATCH_EXPIRED, LineError
from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks, spans
from batch_scheduler.commit import report, settle, settled_values
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.cut import Cut, advance, chunk_row, cut_span, open_span, open_spans
from batch_scheduler.endings import Ending, count_end, end_batch
from batch_scheduler.liveness import is_unclaimed
from batch_scheduler.manifests import find_manifest
from batch_scheduler.plan_store import PlanLostError
from batch_scheduler.salvage import Range, salvage

log = get_log(__name__)

_AT_ONCE: Final = 100
# From the end of its window on a batch cannot be cancelled; gateways' clocks may be late by this.
_AGREED_S: Final = 1.0


async def close(context: Context) -> bool:
    """One step for every batch that is to end early; True when there may be more to do now."""
    more = False
    for batch in await _ending(context):
        try:
            more |= await _close_batch(context, batch)
        except PlanLostError as error:
            log.warning("plan_missing", batch=batch.id, error=str(error))
            context.wakes.plan_missing(batch.id)
        except PASSING as error:
            log.warning("close_failed", batch=batch.id, error=str(error))
    return more


async def _ending(context: Context) -> Sequence[AnyRow]:
    past = batches.c.expires_at <= clock.now() - _AGREED_S
    running = batches.c.status.in_((BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS))
    statement = (
        select(batches)
        .where(
            or_(
                batches.c.status == BatchStatus.CANCELLING,
                and_(running, or_(past, batches.c.plan_lost_at.is_not(None))),
            )
        )
        .order_by(batches.c.id)
        .limit(_AT_ONCE)
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


async def _close_batch(context: Context, batch: AnyRow) -> bool:
    if batch.status == BatchStatus.VALIDATING:
        await _expire_unplanned(context, batch)
        return False
    if batch.plan_lost_at:
        await _close_released(context, batch, None)
        return False
    reason = BATCH_CANCELLED if batch.status == BatchStatus.CANCELLING else BATCH_EXPIRED
    await _close_released(context, batch, reason)
    return await _close_unreleased(context, batch, reason)


async def _expire_unplanned(context: Context, batch: AnyRow) -> None:
    ending, sinks = Ending(status=BatchStatus.EXPIRED), context.config.sinks
    async with context.database.write("batch expire unplanned") as conn:
        ended = await end_batch(conn, batch, ending, clock.timestamp(), sinks)
    if ended:
        count_end(batch, BatchStatus.EXPIRED)


async def _close_released(context: Context, batch: AnyRow, reason: LineError | None) -> None:
    """Chunks that nobody holds any more. Their runners hear `stop` and let go of the others."""
    statement = select(chunks).where(
        chunks.c.batch_id == batch.id, chunks.c.state == ChunkState.RELEASED
    )
    async with context.database.read() as conn:
        released = (await conn.execute(statement)).all()
    await _withdraw(context, released)
    for chunk in released:
        if is_unclaimed(chunk, clock.now(), context.config.scheduler.claim_ttl_s):
            await _settle_abandoned(context, batch, chunk, reason)


async def _withdraw(context: Context, released: Sequence[AnyRow]) -> None:
    """Nobody need take them up. A message that stays costs a claim, which is answered stop."""
    try:
        for chunk in released:
            subject = subjects.chunk_ready(chunk.model, chunk.id)
            await context.bus.purge(subjects.CHUNKS, subject)
    except BusUnavailableError as error:
        log.warning("chunks_not_withdrawn", error=str(error))


async def _settle_abandoned(
    context: Context, batch: AnyRow, chunk: AnyRow, reason: LineError | None
) -> None:
    """By the manifest of a finished attempt; else by what the attempts have saved."""
    found = await find_manifest(context.blobs, chunk, unfinished=True)
    if found is None:
        lines = Range(
            id=chunk.id,
            batch_id=batch.id,
            plan=batch.plan,
            first_line=chunk.first_line,
            end_line=chunk.end_line,
            first_byte=chunk.first_byte,
            end_byte=chunk.end_byte,
        )
        found = await salvage(context.blobs, lines, new_id("att_"), reason)
    key, manifest = found
    await settle(context, chunk, manifest, key)


async def _close_unreleased(context: Context, batch: AnyRow, reason: LineError) -> bool:
    """One chunk of what was never handed out; True while there is more of it."""
    statement = open_spans().where(batches.c.id == batch.id).order_by(spans.c.ordinal).limit(1)
    async with context.database.read() as conn:
        row = (await conn.execute(statement)).first()
    if row is None:
        return False
    settings = context.config.scheduler
    most, size = settings.chunk_max_requests, settings.chunk_max_bytes
    cut = await cut_span(context, open_span(row), most, size)
    lines = Range(
        id=cut.chunk,
        batch_id=batch.id,
        plan=batch.plan,
        first_line=cut.span.next_line,
        end_line=cut.end_line,
        first_byte=cut.span.next_byte,
        end_byte=cut.end_byte,
    )
    # The same name for the same lines and reason: done twice, it overwrites itself.
    attempt = f"att_{reason.code}_{cut.end_line}"
    key, manifest = await salvage(context.blobs, lines, attempt, reason)
    if await _insert_closed(context, batch, cut, manifest, key):
        report(context, cut.span.model, manifest)
    return True


async def _insert_closed(
    context: Context, batch: AnyRow, cut: Cut, manifest: Manifest, key: str
) -> bool:
    """A chunk that is closed from the start. False: another scheduler was first."""
    async with context.database.write("chunk close unreleased") as conn:
        if not await advance(conn, cut, BatchStatus(batch.status)):
            return False
        numbered = await conn.execute(
            update(batches)
            .where(batches.c.id == batch.id)
            .values(commits=batches.c.commits + 1)
            .returning(batches.c.commits)
        )
        row = chunk_row(cut, ChunkState.CLOSED, clock.now())
        row |= settled_values(manifest, key, numbered.scalar_one())
        await conn.execute(insert(chunks).values(row))
    return True
