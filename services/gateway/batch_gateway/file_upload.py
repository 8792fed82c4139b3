"""Taking in one file: from the multipart stream straight into the blob store."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

import msgspec
from litestar import Request

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.config import Limits
from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_gateway import metrics
from batch_gateway.errors import ApiError, missing
from batch_gateway.expiry import file_expires_at, parse_form_expiry
from batch_gateway.file_store import Draft, FileStore
from batch_gateway.first_line import FirstLine
from batch_gateway.idempotency import Once
from batch_gateway.multipart_stream import FormPart, limited, read_form
from batch_gateway.objects import File
from batch_gateway.purposes import (
    BATCH,
    check_batch_name,
    check_purpose,
    largest,
    not_jsonl,
    plain_name,
)

log = get_log(__name__)


class Stored(msgspec.Struct, frozen=True):
    """Bytes that are in the blob store."""

    filename: str
    bytes: int
    first_line: FirstLine


class FileUpload:
    """One request. Whatever ends it early, nothing of it stays."""

    def __init__(
        self, store: FileStore, blobs: BlobStore, limits: Limits, tenant: str, once: Once
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._tenant = tenant
        self._once = once
        self._id = new_id("file-")
        self._created_at = clock.timestamp()
        self._fields: dict[str, str] = {}

    async def receive(self, request: Request[Any, Any, Any]) -> File:
        """Raises ApiError, MultipartError, BlobStoreFullError and what the stores raise."""
        try:
            stored = await self._read(request)
            file = await self._store.publish(self._id, self._draft(stored), self._once.keep)
        except BaseException:
            await run_to_end(self._store.discard(self._id))
            raise
        metrics.UPLOAD_BYTES.inc(file.bytes)
        return file

    async def _read(self, request: Request[Any, Any, Any]) -> Stored:
        stored: Stored | None = None
        async for part in read_form(request, self._limits.max_file_bytes, self._once.body):
            if part.name != "file":
                self._fields[part.name] = await part.text()
            elif stored is not None:
                raise ApiError(400, "Only one 'file' can be uploaded at a time.", param="file")
            else:
                stored = await self._save(part)
        if stored is None:
            raise missing("file")
        return stored

    async def _save(self, part: FormPart) -> Stored:
        purpose = self._fields.get("purpose")
        filename = plain_name(part.filename)
        if purpose is not None:
            check_batch_name(check_purpose(purpose), filename)
        first_line = FirstLine()
        key = await self._store.begin(self._id, self._tenant, self._created_at)
        pieces = limited(part.pieces(), largest(self._limits, purpose))
        size = await self._blobs.put(key, _watched(pieces, first_line))
        return Stored(filename, size, first_line)

    def _draft(self, stored: Stored) -> Draft:
        """What could not be judged before now: a form may name the purpose after the file."""
        purpose = check_purpose(_required(self._fields, "purpose"))
        check_batch_name(purpose, stored.filename)
        if stored.bytes > largest(self._limits, purpose):
            raise ApiError(400, "File is too large.")
        if purpose == BATCH and not stored.first_line.acceptable():
            raise not_jsonl()
        seconds = parse_form_expiry(self._fields)
        return Draft(
            purpose=purpose,
            filename=stored.filename,
            bytes=stored.bytes,
            expires_at=file_expires_at(purpose, self._created_at, seconds),
        )


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Clean-up that a cancelled request still finishes; its own failure is logged, not raised.

    What it leaves then is behind a hidden row, and swept later.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
    except Exception as error:  # noqa: BLE001 - the request's own error is the one to answer
        log.warning("clean_up_failed", error=str(error), kind=type(error).__name__)


async def _watched(pieces: AsyncIterator[bytes], first_line: FirstLine) -> AsyncIterator[bytes]:
    async for piece in pieces:
        first_line.feed(piece)
        yield piece


def _required(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise missing(name)
    return fields[name]
