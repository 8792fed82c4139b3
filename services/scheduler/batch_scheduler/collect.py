"""Collecting orphans: objects in the blob store that no row needs.

What is deleted in the normal course of things, `sweep` deletes. Here goes what a process left that
died, or that wrote when all was over: parts of uploads, plans and results that do not count,
objects of attempts that lost.
"""

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, select

from batch_common import clock
from batch_common.blobs import BlobInfo
from batch_common.errors import BlobNotFoundError
from batch_common.keys import FOLDERS, kind_of
from batch_common.logs import get_log
from batch_common.tables import batches, chunks, files, spans, uploads
from batch_scheduler.context import AnyRow, Context
from batch_scheduler.input_file import parts_of
from batch_scheduler.metrics import ORPHANS
from batch_scheduler.needed import chunk_object_needed, file_needed, plan_needed, result_needed
from batch_scheduler.ownership import is_shared, register

log = get_log(__name__)

LOOK_S: Final = 600.0
_OURS: Final = re.compile(r"[a-z]+/((?:file-|upload_|batch_)[0-9a-z]{26})(?:/|$)")
# The rules need no age; it is there for clocks that differ, and for mistakes.
_AGE_S: Final = 24 * 3600.0
_EVERY_S: Final = 6 * 3600.0
# A scheduler that just took over has better things to do.
_FIRST_S: Final = 600.0


class Collector:
    """Goes through the whole blob store some times a day."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due = time.monotonic() + _FIRST_S

    async def look(self) -> bool:
        """Registers at once; the first collection comes later."""
        await register(self._context)
        if time.monotonic() >= self._due:
            await self._context.blobs.tidy()
            await collect(self._context, clock.now() - _AGE_S)
            self._due = time.monotonic() + _EVERY_S
        return False


async def collect(context: Context, before: float) -> int:
    """Deletes orphans last written `before` (Unix seconds), and says how many."""
    if await is_shared(context):
        return 0
    deleted = 0
    for folder in FOLDERS:
        doubtful: list[str] = []
        async for page in context.blobs.pages(folder):
            orphans = await _orphans(context, folder, _old(page, before))
            if folder == "uploads/":
                doubtful += orphans
            else:
                deleted += await _delete(context, orphans)
        deleted += await _delete(context, await _unnamed(context, doubtful))
    return deleted


def _old(page: Iterable[BlobInfo], before: float) -> list[str]:
    return [info.key for info in page if info.modified_at < before]


async def _delete(context: Context, keys: Sequence[str]) -> int:
    for key in keys:
        log.info("orphan_deleted", key=key)
        await context.blobs.delete([key])
        ORPHANS.labels(kind_of(key)).inc()
    return len(keys)


async def _orphans(context: Context, folder: str, keys: Sequence[str]) -> list[str]:
    """Those of one page that no row needs. Keys of a shape that is not ours are left alone."""
    owners = {key: match[1] for key in keys if (match := _OURS.match(key))}
    match folder:
        case "files/":
            known = await _files(context, owners.values())
            return [key for key, owner in owners.items() if not file_needed(known.get(owner))]
        case "uploads/":
            alive = await _uploads(context, owners.values())
            return [key for key, owner in owners.items() if owner not in alive]
        case "plans/":
            ours = await _batches(context, owners.values())
            return [key for key, owner in owners.items() if not plan_needed(key, ours.get(owner))]
        case "results/":
            ours = await _batches(context, owners.values())
            return [key for key, owner in owners.items() if not result_needed(key, ours.get(owner))]
    return await _chunk_orphans(context, owners)


async def _chunk_orphans(context: Context, owners: dict[str, str]) -> list[str]:
    """The batch is read before the chunk: one that has ended changes no chunk any more."""
    ours = await _batches(context, owners.values())
    names = {key: key.split("/")[2] for key in owners if key.count("/") > 2}
    async with context.database.read() as conn:
        found = await conn.execute(select(chunks).where(chunks.c.id.in_(set(names.values()))))
        known = {row.id: row for row in found}
    return [
        key
        for key, name in names.items()
        if not chunk_object_needed(key, ours.get(owners[key]), known.get(name))
    ]


async def _unnamed(context: Context, keys: list[str]) -> list[str]:
    """Parts without an upload that no file names either.

    An upload's row goes after its file has come, so files are read after uploads.
    """
    if not keys:
        return []
    composed = select(files).where(
        files.c.composed, files.c.purged_at.is_(None), files.c.purpose != "batch_output"
    )
    async with context.database.read() as conn:
        rows = (await conn.execute(composed)).all()
    named: set[str] = set()
    for row in rows:
        try:
            named.update(part.key for part in await parts_of(context, row))
        except BlobNotFoundError as error:
            log.warning("file_without_content", file=row.id, error=str(error))
    return [key for key in keys if key not in named]


async def _files(context: Context, ids: Iterable[str]) -> dict[str, AnyRow]:
    async with context.database.read() as conn:
        found = await conn.execute(select(files).where(files.c.id.in_(set(ids))))
        return {row.id: row for row in found}


async def _uploads(context: Context, ids: Iterable[str]) -> set[str]:
    async with context.database.read() as conn:
        found = await conn.execute(select(uploads.c.id).where(uploads.c.id.in_(set(ids))))
        return set(found.scalars())


async def _batches(context: Context, ids: Iterable[str]) -> dict[str, Any]:
    """With what `needed` asks of them besides, in one look."""
    statement = select(
        batches.c.id,
        batches.c.status,
        batches.c.plan,
        exists().where(spans.c.batch_id == batches.c.id).label("planned"),
        _kept(batches.c.output_file_id).label("output_kept"),
        _kept(batches.c.error_file_id).label("errors_kept"),
    ).where(batches.c.id.in_(set(ids)))
    async with context.database.read() as conn:
        return {row.id: row for row in await conn.execute(statement)}


def _kept(file_id: ColumnElement[str | None]) -> ColumnElement[bool]:
    return exists().where(files.c.id == file_id, files.c.purged_at.is_(None))
