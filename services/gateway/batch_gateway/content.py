"""Bytes of files: one object, or several one after the other."""

from collections.abc import AsyncIterator, Sequence

from batch_common.blobs import BlobStore
from batch_common.formats.content import Part
from batch_gateway import metrics


async def read_parts(
    blobs: BlobStore, parts: Sequence[Part], start: int, end: int
) -> AsyncIterator[bytes]:
    """Bytes `start` to `end` (exclusive) of the parts' concatenation, in pieces of 1 MiB at most.

    Raises BlobNotFoundError, BlobUnavailableError.
    """
    offset = 0
    for part in parts:
        first, last = max(start - offset, 0), min(end - offset, part.bytes)
        offset += part.bytes
        if first < last:
            async for piece in blobs.stream(part.key, first, last):
                yield piece


async def open_download(
    blobs: BlobStore, parts: Sequence[Part], start: int, end: int
) -> AsyncIterator[bytes]:
    """The same, its first piece read already: what is missing fails before the answer begins."""
    pieces = read_parts(blobs, parts, start, end)
    first = await anext(pieces, b"")
    return _tracked(first, pieces)


async def _tracked(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with metrics.OPEN_STREAMS.labels("download").track_inprogress():
        yield first
        async for piece in rest:
            yield piece
