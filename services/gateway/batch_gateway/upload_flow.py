"""Uploads: parts that arrive one by one, side by side, and become one file."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from litestar import Request
from sqlalchemy import Row

from batch_common import clock, keys
from batch_common.blobs import BlobStore
from batch_common.config import Limits
from batch_common.formats.content import Content, Part, encode_content
from batch_common.ids import new_id
from batch_gateway import metrics
from batch_gateway.content import read_parts
from batch_gateway.errors import ApiError, missing
from batch_gateway.expiry import file_expires_at
from batch_gateway.file_store import Draft, FileStore
from batch_gateway.file_upload import run_to_end
from batch_gateway.first_line import FirstLine
from batch_gateway.idempotency import Once
from batch_gateway.multipart_stream import PIECE_BYTES, FormPart, limited, read_form
from batch_gateway.objects import Upload, UploadPart
from batch_gateway.purposes import BATCH, not_jsonl
from batch_gateway.upload_store import UploadStore


class UploadFlow:
    def __init__(
        self, uploads: UploadStore, files: FileStore, blobs: BlobStore, limits: Limits
    ) -> None:
        self._uploads = uploads
        self._files = files
        self._blobs = blobs
        self._limits = limits

    async def add_part(
        self, request: Request[Any, Any, Any], tenant: str, upload_id: str, once: Once
    ) -> UploadPart:
        """Stores the form's `data`. A process that dies here leaves bytes for the sweep."""
        await self._uploads.pending(tenant, upload_id)
        part_id = new_id("part_")
        key = keys.upload_part(upload_id, part_id)
        try:
            size = await self._save(request, key, once)
            stored = Part(key, size)
            part = await self._uploads.add_part(tenant, upload_id, part_id, stored, once.keep)
        except BaseException:
            await run_to_end(self._blobs.delete([key]))
            raise
        metrics.UPLOAD_BYTES.inc(size)
        return part

    async def _save(self, request: Request[Any, Any, Any], key: str, once: Once) -> int:
        most = self._limits.max_part_bytes
        size: int | None = None
        async for part in read_form(request, most, once.body):
            if part.name == "data" and size is None:
                size = await self._put(part, key, most)
        if size is None:
            raise missing("data")
        return size

    async def _put(self, part: FormPart, key: str, most: int) -> int:
        return await self._blobs.put(key, limited(part.pieces(), most))

    async def complete(
        self, tenant: str, upload_id: str, part_ids: Sequence[str], md5: str | None, once: Once
    ) -> Upload:
        """Raises ApiError when the parts are not what was declared."""
        row = await self._uploads.pending(tenant, upload_id)
        parts = await self._uploads.parts(upload_id, part_ids)
        await self._check(row, parts, md5)
        file_id, created_at = new_id("file-"), clock.timestamp()
        draft = Draft(
            purpose=row.purpose,
            filename=row.filename,
            bytes=row.bytes,
            expires_at=file_expires_at(row.purpose, created_at, row.expires_after_s),
            composed=True,
        )
        try:
            key = await self._files.begin(file_id, tenant, created_at)
            await self._blobs.put(key, encode_content(Content(parts)))
            return await self._uploads.complete(tenant, upload_id, file_id, draft, once.keep)
        except BaseException:
            await run_to_end(self._files.discard(file_id))
            raise

    async def _check(self, row: Row[Any], parts: tuple[Part, ...], md5: str | None) -> None:
        size = sum(part.bytes for part in parts)
        if size != row.bytes:
            raise ApiError(
                400,
                f"The parts have {size} bytes together, but {row.bytes} were declared "
                "when the upload was created.",
                param="part_ids",
            )
        if row.purpose == BATCH:
            first_line = FirstLine()
            async for piece in read_parts(self._blobs, parts, 0, PIECE_BYTES):
                first_line.feed(piece)
            if not first_line.acceptable():
                raise not_jsonl()
        if md5 is not None and await self._md5(parts, size) != md5.lower():
            raise ApiError(400, "The MD5 of the parts is not the one given.", param="md5")

    async def _md5(self, parts: Sequence[Part], size: int) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        async for piece in read_parts(self._blobs, parts, 0, size):
            await asyncio.to_thread(digest.update, piece)
        return digest.hexdigest()

    async def cancel(self, tenant: str, upload_id: str) -> Upload:
        """Its parts go at once; one that is just coming in goes when it finds out."""
        upload = await self._uploads.cancel(tenant, upload_id)
        await run_to_end(self._delete_parts(upload_id))
        return upload

    async def _delete_parts(self, upload_id: str) -> None:
        found = await self._blobs.list(keys.upload_prefix(upload_id))
        await self._blobs.delete([blob.key for blob in found])
