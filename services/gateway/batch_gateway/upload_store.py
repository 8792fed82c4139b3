"""Rows of uploads and their parts."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.db import Database
from batch_common.formats.content import Part
from batch_common.ids import new_id
from batch_common.tables import upload_parts, uploads
from batch_gateway.errors import ApiError, no_such
from batch_gateway.file_store import Draft, publish_file
from batch_gateway.idempotency import Keep, keep_nothing
from batch_gateway.objects import Upload, UploadPart
from batch_gateway.paging import is_id

LIFETIME_S: Final = 3600
PENDING: Final = "pending"
COMPLETED: Final = "completed"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a file before its bytes come."""

    bytes: int
    filename: str
    mime_type: str
    purpose: str
    expires_after_s: int | None


class UploadStore:
    """Every method takes the tenant: a foreign upload raises the ApiError of an unknown one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, declared: Declared, keep: Keep = keep_nothing) -> Upload:
        created_at = clock.timestamp()
        values = {
            **msgspec.structs.asdict(declared),
            "id": new_id("upload_"),
            "tenant": tenant,
            "status": PENDING,
            "created_at": created_at,
            "expires_at": created_at + LIFETIME_S,
        }
        async with self._database.write("upload create") as conn:
            row = await conn.execute(insert(uploads).values(**values).returning(*uploads.c))
            upload = to_upload(row.one())
            await keep(conn, upload)
        return upload

    async def pending(self, tenant: str, upload_id: str) -> Row[Any]:
        """The row of an upload that still takes parts. Raises ApiError."""
        async with self._database.read() as conn:
            return await _pending(conn, tenant, upload_id)

    async def add_part(
        self,
        tenant: str,
        upload_id: str,
        part_id: str,
        stored: Part,
        keep: Keep = keep_nothing,
    ) -> UploadPart:
        """Raises ApiError when the upload ended while the part's bytes came in."""
        part = UploadPart(id=part_id, created_at=clock.timestamp(), upload_id=upload_id)
        values = {"id": part.id, "upload_id": part.upload_id, "created_at": part.created_at}
        values |= {"bytes": stored.bytes, "blob_key": stored.key}
        async with self._database.write("upload part") as conn:
            await _pending(conn, tenant, upload_id, lock=True)
            await conn.execute(insert(upload_parts).values(**values))
            await keep(conn, part)
        return part

    async def parts(self, upload_id: str, part_ids: Sequence[str]) -> tuple[Part, ...]:
        """In the order asked for. Raises ApiError for a part that is not this upload's."""
        statement = select(upload_parts).where(upload_parts.c.upload_id == upload_id)
        async with self._database.read() as conn:
            rows = (await conn.execute(statement)).all()
        known = {row.id: Part(row.blob_key, row.bytes) for row in rows}
        if len(set(part_ids)) != len(part_ids):
            raise ApiError(400, "A part is named twice in 'part_ids'.", param="part_ids")
        for part_id in part_ids:
            if part_id not in known:
                raise ApiError(
                    400, f"Upload {upload_id} has no part '{part_id}'.", param="part_ids"
                )
        return tuple(known[part_id] for part_id in part_ids)

    async def complete(
        self,
        tenant: str,
        upload_id: str,
        file_id: str,
        draft: Draft,
        keep: Keep = keep_nothing,
    ) -> Upload:
        """The upload ends and its file appears in one transaction. Raises ApiError."""
        async with self._database.write("upload complete") as conn:
            await _pending(conn, tenant, upload_id, lock=True)
            row = await _end(conn, upload_id, COMPLETED, file_id)
            file = await publish_file(conn, file_id, draft)
            upload = msgspec.structs.replace(to_upload(row), file=file)
            await keep(conn, upload)
        return upload

    async def cancel(self, tenant: str, upload_id: str) -> Upload:
        async with self._database.write("upload cancel") as conn:
            await _pending(conn, tenant, upload_id, lock=True)
            return to_upload(await _end(conn, upload_id, CANCELLED, None))


async def _pending(
    conn: AsyncConnection, tenant: str, upload_id: str, *, lock: bool = False
) -> Row[Any]:
    """`lock`: within a write, so that no other request ends the upload meanwhile."""
    statement = select(uploads).where(uploads.c.id == upload_id, uploads.c.tenant == tenant)
    if lock:
        statement = statement.with_for_update()
    row = (await conn.execute(statement)).first() if is_id(upload_id) else None
    if row is None:
        raise no_such("Upload", upload_id)
    status = _status(row)
    if status != PENDING:
        raise ApiError(400, f"Upload {upload_id} is {status}: it takes no more changes.")
    return row


async def _end(conn: AsyncConnection, upload_id: str, status: str, file_id: str | None) -> Row[Any]:
    statement = (
        update(uploads)
        .where(uploads.c.id == upload_id)
        .values(status=status, file_id=file_id)
        .returning(*uploads.c)
    )
    return (await conn.execute(statement)).one()


def _status(row: Row[Any]) -> Any:
    over = row.status == PENDING and row.expires_at <= clock.timestamp()
    return EXPIRED if over else row.status


def to_upload(row: Row[Any]) -> Upload:
    return Upload(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        filename=row.filename,
        purpose=row.purpose,
        status=_status(row),
    )
