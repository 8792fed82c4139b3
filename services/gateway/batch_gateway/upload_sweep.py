"""Removing what uploads leave: parts of those that were cancelled, expired or died half-way.

One rule, from the rows alone, so that it repairs the death of a gateway at any point: some time
after an upload's lifetime every object under its prefix goes that its file does not name.
"""

import asyncio
from typing import Any, Final

from sqlalchemy import Row, delete, select

from batch_common import clock, keys
from batch_common.blobs import BlobStore
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.errors import BlobNotFoundError, BlobUnavailableError
from batch_common.formats.content import decode_content
from batch_common.logs import get_log
from batch_common.tables import upload_parts, uploads
from batch_common.tasks import repeat

log = get_log(__name__)

_EVERY_S: Final = 60.0
# A request that began within the lifetime has ended by then.
_GRACE_S: Final = 3600
_PAGE: Final = 20


class UploadSweep:
    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(
            "upload_sweep",
            self.sweep_page,
            wake=asyncio.Event(),
            stop=stop,
            every_s=_EVERY_S,
            catch=(BlobUnavailableError, *DATABASE_ERRORS),
        )

    async def sweep_page(self) -> bool:
        """True when there may be more."""
        over = uploads.c.expires_at < clock.timestamp() - _GRACE_S
        async with self._database.read() as conn:
            rows = (
                await conn.execute(select(uploads).where(over).order_by(uploads.c.id).limit(_PAGE))
            ).all()
        for row in rows:
            await self._sweep(row)
        return len(rows) == _PAGE

    async def _sweep(self, row: Row[Any]) -> None:
        kept = await self._named_by_file(row.file_id)
        found = await self._blobs.list(keys.upload_prefix(row.id))
        await self._blobs.delete([blob.key for blob in found if blob.key not in kept])
        async with self._database.write("upload sweep") as conn:
            await conn.execute(delete(upload_parts).where(upload_parts.c.upload_id == row.id))
            await conn.execute(delete(uploads).where(uploads.c.id == row.id))
        log.debug("upload_swept", upload=row.id, status=row.status)

    async def _named_by_file(self, file_id: str | None) -> frozenset[str]:
        if file_id is None:
            return frozenset()
        try:
            content = decode_content(await self._blobs.get(keys.file_content(file_id)))
        except BlobNotFoundError:
            return frozenset()  # the file was deleted, and its bytes purged
        return frozenset(part.key for part in content.parts)
