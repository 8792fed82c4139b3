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
from batch_common.formats.plan import read_index, record_range
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
    plan_index,
    plan_input,
)
from batch_common.logs import get_log

log = get_log(__name__)

_PIECE_LINES: Final = 500


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a chunk, released or not."""

    id: str
    batch_id: str
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
    blobs: BlobStore, chunk: Range, attempt: str, reason: LineError
) -> tuple[str, Manifest]:
    """Writes output, errors and manifest under `attempt`; returns the manifest with its key.

    Lines without a result get `reason`. Raises BlobNotFoundError when the plan is gone,
    BlobUnavailableError, BlobStoreFullError.
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
        len(found) - completed + unfinished,
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
    found: dict[int, _Found] = {}
    for key in segments:
        for record in await _read(blobs, key, chunk):
            found.setdefault(record.line, _Found(key, record.succeeded, record.usage or Usage()))
    return found


async def _read(blobs: BlobStore, key: str, chunk: Range | None = None) -> list[Record]:
    """The records of a segment, of `chunk`'s lines only; none when it cannot be read."""
    try:
        segment: Segment = decode_segment(await blobs.get(key))
    except (BlobNotFoundError, msgspec.DecodeError) as error:
        log.warning("segment_unreadable", key=key, error=str(error))
        return []
    if chunk is None:
        return segment.records
    return [r for r in segment.records if chunk.first_line <= r.line < chunk.end_line]


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
    reason: LineError,
) -> AsyncIterator[bytes]:
    async for piece in _saved(blobs, segments, found, succeeded=False):
        yield piece
    async for piece in _unfinished(blobs, chunk, found.__contains__, reason):
        yield piece


async def _unfinished(
    blobs: BlobStore, chunk: Range, has_result: Callable[[int], bool], reason: LineError
) -> AsyncIterator[bytes]:
    start, end = record_range(chunk.first_line, chunk.end_line)
    index = read_index(await blobs.get_range(plan_index(chunk.batch_id), start, end))
    numbers: list[int] = index["line"].tolist()
    lengths: list[int] = index["length"].tolist()
    byte = chunk.first_byte
    for at in range(0, len(numbers), _PIECE_LINES):
        sizes = lengths[at : at + _PIECE_LINES]
        text = await blobs.get_range(plan_input(chunk.batch_id), byte, byte + sum(sizes))
        if len(text) < sum(sizes):
            raise BlobNotFoundError(plan_input(chunk.batch_id))
        byte += len(text)
        wanted = [not has_result(chunk.first_line + at + n) for n in range(len(sizes))]
        yield await asyncio.to_thread(
            _error_lines, chunk.batch_id, text, sizes, numbers[at:], wanted, reason
        )


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
