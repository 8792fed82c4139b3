"""Removing what nobody needs any more: segments, plans, files, and rows of deleted endpoints."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update

from batch_common import clock
from batch_common.errors import BlobNotFoundError, BlobUnavailableError
from batch_common.keys import batch_of_errors, chunk_prefix, plan_prefix
from batch_common.logs import get_log
from batch_common.state import TERMINAL, BatchStatus, ChunkState, DeliveryState
from batch_common.tables import batches, chunks, deliveries, files, spans, webhook_endpoints
from batch_scheduler.context import AnyRow, Context
from batch_scheduler.input_file import parts_of

log = get_log(__name__)

# Longer than the longest download.
GRACE_S: Final = 24 * 3600
# A delivery that was given up may be made after all within this time.
_REDRIVE_S: Final = 30 * 86400
_AT_ONCE: Final = 50


async def sweep_batches(context: Context) -> bool:
    """Segments of settled chunks and plans of ended batches; True when there may be more."""
    swept = await _sweep_chunks(context)
    return await _sweep_plans(context) or swept


async def _sweep_chunks(context: Context) -> bool:
    """All that attempts have left, but for the objects that hold the results."""
    statement = (
        select(chunks)
        .where(chunks.c.swept_at.is_(None), chunks.c.state != ChunkState.RELEASED)
        .limit(_AT_ONCE)
    )
    async with context.database.read() as conn:
        settled = (await conn.execute(statement)).all()
    if not settled:
        return False
    ids = [chunk.id for chunk in settled if await _is_swept(context, chunk)]
    async with context.database.write("chunk swept") as conn:
        await conn.execute(
            update(chunks).where(chunks.c.id.in_(ids)).values(swept_at=clock.timestamp())
        )
    return len(ids) == _AT_ONCE


async def _is_swept(context: Context, chunk: AnyRow) -> bool:
    """False when the blob store would not: the others are swept all the same."""
    try:
        await _sweep_chunk(context, chunk)
    except BlobUnavailableError as error:
        log.warning("chunk_not_swept", chunk=chunk.id, error=str(error))
        return False
    return True


async def _sweep_chunk(context: Context, chunk: AnyRow) -> None:
    kept = {chunk.manifest_key, chunk.output_key, chunk.error_key}
    listed = await context.blobs.list(chunk_prefix(chunk.batch_id, chunk.id))
    await context.blobs.delete([info.key for info in listed if info.key not in kept])


async def _sweep_plans(context: Context) -> bool:
    """Spans go last: they say that there is a plan.

    What a batch with an error file was planned from stays for its retry, as long as that file;
    and sinks are given each result with the request it answers.
    """
    statement = (
        select(spans.c.batch_id, batches.c.error_file_id)
        .distinct()
        .where(
            batches.c.id == spans.c.batch_id, batches.c.status.in_(TERMINAL), ~_may_be_delivered()
        )
        .limit(_AT_ONCE)
    )
    async with context.database.read() as conn:
        ended = (await conn.execute(statement)).all()
    for batch in ended:
        if batch.error_file_id is None:
            await _delete_plan(context, batch.batch_id)
    if ended:
        ids = [batch.batch_id for batch in ended]
        async with context.database.write("plan swept") as conn:
            await conn.execute(delete(spans).where(spans.c.batch_id.in_(ids)))
    return len(ended) == _AT_ONCE


async def _delete_plan(context: Context, batch_id: str) -> None:
    listed = await context.blobs.list(plan_prefix(batch_id))
    await context.blobs.delete([info.key for info in listed])


async def sweep_files(context: Context) -> bool:
    """Bytes of files that are hidden for longer than the grace; True when there may be more."""
    unneeded = await _unneeded_files(context)
    for file in unneeded:
        if await _mark_purged(context, file):
            await _purge(context, file)
    return len(unneeded) == _AT_ONCE


async def sweep_endpoints(context: Context) -> bool:
    """Rows of deleted webhook endpoints; True when there may be more.

    Until then they are cursors of those who walk through a list. A delivery to one is skipped,
    whether its row is there or not.
    """
    known = webhook_endpoints.c
    statement = select(known.id).where(known.deleted_at < clock.now() - GRACE_S).limit(_AT_ONCE)
    async with context.database.read() as conn:
        ids = (await conn.execute(statement)).scalars().all()
    if ids:
        async with context.database.write("webhook swept") as conn:
            await conn.execute(delete(webhook_endpoints).where(known.id.in_(ids)))
    return len(ids) == _AT_ONCE


async def _unneeded_files(context: Context) -> Sequence[AnyRow]:
    old = clock.now() - GRACE_S
    statement = (
        select(files)
        .where(
            files.c.purged_at.is_(None),
            or_(files.c.deleted_at < old, files.c.expires_at < old),
            ~_validating(),
            ~_to_deliver(),
        )
        .limit(_AT_ONCE)
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


def _validating() -> ColumnElement[bool]:
    """Once planned, a batch needs its input file no more."""
    return exists().where(
        batches.c.input_file_id == files.c.id, batches.c.status == BatchStatus.VALIDATING
    )


def _to_deliver() -> ColumnElement[bool]:
    return exists().where(
        deliveries.c.batch_id == batches.c.id,
        deliveries.c.state == DeliveryState.PENDING,
        or_(batches.c.output_file_id == files.c.id, batches.c.error_file_id == files.c.id),
    )


def _may_be_delivered() -> ColumnElement[bool]:
    """Now, or after somebody has put right what made the delivery fail."""
    failed = and_(
        deliveries.c.state == DeliveryState.FAILED,
        deliveries.c.created_at > clock.timestamp() - _REDRIVE_S,
    )
    return exists().where(
        deliveries.c.batch_id == batches.c.id,
        or_(deliveries.c.state == DeliveryState.PENDING, failed),
    )


async def _purge(context: Context, file: AnyRow) -> None:
    """A composed file's own object goes last: it says where the bytes are.

    Cut off here, the rest is found by `collect`: no row needs it any more.
    """
    try:
        await context.blobs.delete([part.key for part in await parts_of(context, file)])
    except BlobNotFoundError:
        log.info("file_already_gone", file=file.id)
    if batch_id := batch_of_errors(file.blob_key):
        await _delete_plan(context, batch_id)
    await context.blobs.delete([file.blob_key])


async def _mark_purged(context: Context, file: AnyRow) -> bool:
    """Before the bytes go. False when the file's slow upload has just come to its end."""
    statement = (
        update(files)
        .where(
            files.c.id == file.id,
            files.c.purged_at.is_(None),
            or_(files.c.deleted_at.is_not(None), files.c.expires_at == file.expires_at),
        )
        .values(purged_at=clock.timestamp())
    )
    async with context.database.write("file purged") as conn:
        return (await conn.execute(statement)).rowcount == 1
