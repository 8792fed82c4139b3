"""Rows of files.

A file's row is written, hidden, before its bytes: should the process die in between, the row
says what the sweeper has to remove.
"""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock, keys
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.formats.content import Part, decode_content
from batch_common.tables import files
from batch_gateway.idempotency import Keep, keep_nothing
from batch_gateway.objects import File, FileList, page_ends
from batch_gateway.paging import is_id, read_page


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes a visible file. `composed` as in the table."""

    purpose: str
    filename: str
    bytes: int
    expires_at: int | None
    composed: bool = False


class FileStore:
    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def begin(self, file_id: str, tenant: str, created_at: int) -> str:
        """Notes that bytes are about to be written; returns the key they belong under."""
        key = keys.file_content(file_id)
        async with self._database.write("file begin") as conn:
            await conn.execute(
                insert(files).values(
                    id=file_id,
                    tenant=tenant,
                    purpose="",
                    filename="",
                    bytes=0,
                    created_at=created_at,
                    blob_key=key,
                    composed=False,
                    deleted_at=created_at,
                )
            )
        return key

    async def publish(self, file_id: str, draft: Draft, keep: Keep = keep_nothing) -> File:
        """Makes a begun file visible."""
        async with self._database.write("file publish") as conn:
            file = await publish_file(conn, file_id, draft)
            await keep(conn, file)
        return file

    async def discard(self, file_id: str) -> None:
        """Undoes `begin`; a published file stays, also one whose publish is being committed.

        So the row goes first. Bytes of a process that dies then are an orphan, which the
        scheduler collects.
        """
        hidden = (files.c.id == file_id, files.c.deleted_at.is_not(None))
        async with self._database.read() as conn:
            if (await conn.execute(select(files.c.id).where(*hidden))).first() is None:
                return
        async with self._database.write("file discard") as conn:
            if not (await conn.execute(delete(files).where(*hidden))).rowcount:
                return
        await self._blobs.delete([keys.file_content(file_id)])

    async def find(self, tenant: str, file_id: str) -> File | None:
        """None for unknown, foreign, deleted and expired files alike."""
        row = await self._row(tenant, file_id)
        return None if row is None else to_file(row)

    async def parts(self, tenant: str, file_id: str) -> tuple[Part, ...]:
        """The objects that make up a file that `find` found."""
        row = await self._row(tenant, file_id)
        if row is None:
            return ()
        if not row.composed:
            return (Part(row.blob_key, row.bytes),)
        return decode_content(await self._blobs.get(row.blob_key)).parts

    async def page(
        self, tenant: str, purpose: str | None, *, after: str | None, limit: int, newest_first: bool
    ) -> FileList:
        statement = select(files).where(_visible())
        if purpose is not None:
            statement = statement.where(files.c.purpose == purpose)
        async with self._database.read() as conn:
            rows, has_more = await read_page(
                conn,
                statement,
                files,
                tenant,
                after=after,
                limit=limit,
                newest_first=newest_first,
            )
        data = [to_file(row) for row in rows]
        first, last = page_ends(data)
        return FileList(data=data, first_id=first, last_id=last, has_more=has_more)

    async def delete(self, tenant: str, file_id: str) -> bool:
        """Hides the file at once; the scheduler's sweeper removes its bytes later."""
        if not is_id(file_id):
            return False
        statement = (
            update(files)
            .where(files.c.id == file_id, files.c.tenant == tenant, _visible())
            .values(deleted_at=clock.timestamp())
        )
        async with self._database.write("file delete") as conn:
            return (await conn.execute(statement)).rowcount == 1

    async def _row(self, tenant: str, file_id: str) -> Row[Any] | None:
        if not is_id(file_id):
            return None
        statement = select(files).where(files.c.id == file_id, files.c.tenant == tenant, _visible())
        async with self._database.read() as conn:
            return (await conn.execute(statement)).first()


async def publish_file(conn: AsyncConnection, file_id: str, draft: Draft) -> File:
    """Within the caller's transaction. Raises LookupError when the begun row is gone."""
    row = (
        await conn.execute(
            update(files)
            .where(files.c.id == file_id, files.c.purged_at.is_(None))
            .values(**msgspec.structs.asdict(draft), deleted_at=None)
            .returning(*files.c)
        )
    ).first()
    if row is None:
        raise LookupError(f"the row of {file_id} was removed while its bytes were written")
    return to_file(row)


def to_file(row: Row[Any]) -> File:
    return File(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
    )


def _visible() -> ColumnElement[bool]:
    return and_(
        files.c.deleted_at.is_(None),
        or_(files.c.expires_at.is_(None), files.c.expires_at > clock.timestamp()),
    )
