"""The final results of a chunk that no attempt finishes: its segments', and errors for the rest.

Segments are read one at a time, so that memory is bounded by a runner's flush limits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.manifest import Manifest, ObjectRef, encode_manifest
from batch_common.formats.request import REQUEST_DECODER
from batch_common.formats.result import LineError, ResultLine, encode_result, result_id
from batch_common.formats.segment import Record, Segment, decode_segment
from batch_common.formats.usage import Usage, total
from batch_common.keys import (
    chunk_errors,
    chunk_manifest,
    chunk_output,
    chunk_prefix,
    is_segment,
)
from batch_common.logs import get_log
from batch_scheduler.plan_store import PlanLostError, read_lines, read_records

log = get_log(__name__)

_PIECE_LINES: Final = 500


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a chunk, released or not."""

    id: str
    batch_id: str
    plan: str | None
    first_line: int
    end_line: int
    first_byte: int
    end_byte: int

    @property
    def prefix(self) -> str:
        return chunk_prefix(self.batch_id, self.id)


class _Found(msgspec.Struct, frozen=True):
    """Where the first result of a line stands."""

    segment: str
    succeeded: bool
    usage: Usage


async def salvage(
    blobs: BlobStore, chunk: Range, attempt: str, reason: LineError | None
) -> tuple[str, Manifest]:
    """Writes output, errors and manifest under `attempt`; returns the manifest with its key.

    Lines without a result get `reason`; with None, since their plan is lost, nothing. Raises
    PlanLostError, BlobNotFoundError when a segment vanishes meanwhile, BlobUnavailableError,
    BlobStoreFullError.
    """
    listed = await blobs.list(chunk.prefix)
    segments = sorted(info.key for info in listed if is_segment(info.key))
    found = await _survey(blobs, chunk, segments)
    used = sorted({one.segment for one in found.values()})
    completed = sum(one.succeeded for one in found.values())
    unfinished = chunk.end_line - chunk.first_line - len(found)
    output = await _put(
        blobs,
        chunk_output(chunk.prefix, attempt),
        completed,
        _saved(blobs, used, found, succeeded=True),
    )
    errors = await _put(
        blobs,
        chunk_errors(chunk.prefix, attempt),
        len(found) - completed + (unfinished if reason else 0),
        _errors(blobs, chunk, used, found, reason),
    )
    manifest = Manifest(
        chunk=chunk.id,
        attempt=attempt,
        segments=tuple(used),
        output=output,
        errors=errors,
        completed=completed,
        failed=len(found) - completed,
        unfinished=unfinished,
        usage=total(one.usage for one in found.values()),
    )
    key = chunk_manifest(chunk.prefix, attempt)
    await blobs.put(key, encode_manifest(manifest))
    return key, manifest


async def _put(
    blobs: BlobStore, key: str, lines: int, data: AsyncIterator[bytes]
) -> ObjectRef | None:
    if not lines:
        return None
    return ObjectRef(key, await blobs.put(key, data), lines)


async def _survey(blobs: BlobStore, chunk: Range, segments: Sequence[str]) -> dict[int, _Found]:
    """Segments that cannot be read hold no results."""
    found: dict[int, _Found] = {}
    for key in segments:
        try:
            records = await _read(blobs, key)
        except BlobNotFoundError as error:
            log.warning("segment_unreadable", chunk=chunk.id, error=str(error))
            continue
        for record in records:
            if chunk.first_line <= record.line < chunk.end_line:
                place = _Found(key, record.succeeded, record.usage or Usage())
                found.setdefault(record.line, place)
    return found


async def _read(blobs: BlobStore, key: str) -> list[Record]:
    """Raises BlobNotFoundError also for what is no segment."""
    try:
        segment: Segment = decode_segment(await blobs.get(key))
    except msgspec.DecodeError as error:
        raise BlobNotFoundError(key) from error
    return segment.records


async def _saved(
    blobs: BlobStore, segments: Sequence[str], found: dict[int, _Found], *, succeeded: bool
) -> AsyncIterator[bytes]:
    written: set[int] = set()
    for key in segments:
        piece = bytearray()
        for record in await _read(blobs, key):
            place = found.get(record.line)
            first = place is not None and place.segment == key and record.line not in written
            if first and record.succeeded == succeeded:
                piece += record.data + b"\n"
            if first:
                written.add(record.line)
        yield bytes(piece)


async def _errors(
    blobs: BlobStore,
    chunk: Range,
    segments: Sequence[str],
    found: dict[int, _Found],
    reason: LineError | None,
) -> AsyncIterator[bytes]:
    async for piece in _saved(blobs, segments, found, succeeded=False):
        yield piece
    if reason is not None:
        async for piece in _unfinished(blobs, chunk, found.__contains__, reason):
            yield piece


async def _unfinished(
    blobs: BlobStore, chunk: Range, has_result: Callable[[int], bool], reason: LineError
) -> AsyncIterator[bytes]:
    batch_id, plan = chunk.batch_id, chunk.plan
    index = await read_records(blobs, batch_id, plan, chunk.first_line, chunk.end_line)
    numbers: list[int] = index["line"].tolist()
    lengths: list[int] = index["length"].tolist()
    byte = chunk.first_byte
    for at in range(0, len(numbers), _PIECE_LINES):
        sizes = lengths[at : at + _PIECE_LINES]
        text = await read_lines(blobs, batch_id, plan, byte, byte + sum(sizes))
        byte += len(text)
        wanted = [not has_result(chunk.first_line + at + n) for n in range(len(sizes))]
        try:
            yield await asyncio.to_thread(
                _error_lines, batch_id, text, sizes, numbers[at:], wanted, reason
            )
        except msgspec.MsgspecError as error:
            raise PlanLostError(batch_id, chunk.id, f"cannot be read: {error}") from error


def _error_lines(
    batch_id: str,
    text: bytes,
    sizes: Sequence[int],
    numbers: Sequence[int],
    wanted: Sequence[bool],
    reason: LineError,
) -> bytes:
    lines = bytearray()
    start = 0
    for size, number, listed in zip(sizes, numbers, wanted, strict=False):
        if listed:
            custom_id = REQUEST_DECODER.decode(text[start : start + size]).custom_id
            result = ResultLine(result_id(batch_id, number), custom_id, None, reason)
            lines += encode_result(result) + b"\n"
        start += size
    return bytes(lines)
