"""Batches whose every line has its result: their files, their terminal status, their event."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import exists, or_, select

from batch_common import clock
from batch_common.formats.content import Content, Part, encode_content
from batch_common.keys import batch_content
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState, move_batch
from batch_common.tables import batches, chunks, spans
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.endings import Ending, ResultFile, count_end, end_batch
from batch_scheduler.metrics import MOVES
from batch_scheduler.problems import plan_lost

log = get_log(__name__)

_AT_ONCE = 20


async def finalise(context: Context) -> bool:
    """Ends every batch that is through; True when there may be more."""
    rows = await _settled(context)
    failed = 0
    for batch in rows:
        try:
            await _finalise_one(context, batch)
        except PASSING as error:
            failed += 1
            log.warning("finalise_failed", batch=batch.id, error=str(error))
    return len(rows) == _AT_ONCE and not failed


async def _settled(context: Context) -> Sequence[AnyRow]:
    """Batches without a line that waits or runs; cancelling ones that never were planned too.

    Where the plan is lost, lines that wait can wait no longer.
    """
    waiting = exists().where(spans.c.batch_id == batches.c.id, spans.c.next_line < spans.c.end_line)
    running = exists().where(
        chunks.c.batch_id == batches.c.id, chunks.c.state == ChunkState.RELEASED
    )
    through = batches.c.status.in_((BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING))
    no_more = or_(~waiting, batches.c.plan_lost_at.is_not(None))
    statement = (
        select(batches)
        .where(
            or_(through & no_more & ~running, batches.c.status == BatchStatus.FINALIZING),
        )
        .order_by(batches.c.id)
        .limit(_AT_ONCE)
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


async def _finalise_one(context: Context, batch: AnyRow) -> None:
    match batch.status:
        case BatchStatus.CANCELLING:
            await _end(context, batch, BatchStatus.CANCELLED)
        case BatchStatus.FINALIZING:
            await _end(context, batch, BatchStatus.COMPLETED)
        case _ if _is_cut_short(batch):
            await _end(context, batch, BatchStatus.FAILED)
        case _ if await _any_closed(context, batch.id):
            await _end(context, batch, BatchStatus.EXPIRED)
        case _:
            await _gather(context, batch)


def _is_cut_short(batch: AnyRow) -> bool:
    """Its plan was lost, and it needed it."""
    return bool(batch.plan_lost_at) and batch.completed + batch.failed < batch.total


def _problems(batch: AnyRow) -> list[dict[str, object]]:
    done = batch.completed + batch.failed
    return [msgspec.to_builtins(plan_lost(done, batch.total))]


async def _gather(context: Context, batch: AnyRow) -> None:
    """To finalizing, and on from there; what cancels in between finds its way by the next look."""
    source, target = BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING
    async with context.database.write("batch finalise") as conn:
        if not await move_batch(conn, batch.id, source, target, clock.timestamp()):
            return
        moved = (await conn.execute(select(batches).where(batches.c.id == batch.id))).one()
    MOVES.labels(target).inc()
    await _end(context, moved, BatchStatus.COMPLETED)


async def _any_closed(context: Context, batch_id: str) -> bool:
    statement = select(chunks.c.id).where(
        chunks.c.batch_id == batch_id, chunks.c.state == ChunkState.CLOSED
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement.limit(1))).first() is not None


async def _end(context: Context, batch: AnyRow, status: BatchStatus) -> None:
    output, errors = await _compose(context, batch.id)
    problems = _problems(batch) if _is_cut_short(batch) else None
    ending = Ending(status=status, output=output, errors=errors, problems=problems)
    async with context.database.write("batch end") as conn:
        ended = await end_batch(conn, batch, ending, clock.timestamp(), context.config.sinks)
    if ended:
        count_end(batch, status)
        log.info("batch_ended", batch=batch.id, status=str(status))


async def _compose(context: Context, batch_id: str) -> tuple[ResultFile | None, ResultFile | None]:
    """Both files' Content, in commit order; keys are the batch's own, so doing it twice is fine."""
    statement = (
        select(chunks.c.output_key, chunks.c.output_bytes, chunks.c.error_key, chunks.c.error_bytes)
        .where(chunks.c.batch_id == batch_id, chunks.c.state != ChunkState.RELEASED)
        .order_by(chunks.c.commit_seq)
    )
    async with context.database.read() as conn:
        rows = (await conn.execute(statement)).all()
    outputs = tuple(Part(row.output_key, row.output_bytes) for row in rows if row.output_key)
    errors = tuple(Part(row.error_key, row.error_bytes) for row in rows if row.error_key)
    return (
        await _put_content(context, batch_content(batch_id, "output"), outputs),
        await _put_content(context, batch_content(batch_id, "error"), errors),
    )


async def _put_content(context: Context, key: str, parts: tuple[Part, ...]) -> ResultFile | None:
    if not parts:
        return None
    content = Content(parts)
    await context.blobs.put(key, encode_content(content))
    return ResultFile(key, content.bytes)
