"""A local copy of an input file, and the planned input read from it in its new order.

Spools are files without a name: the system removes them whenever the process ends.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from batch_common.blobs import BlobStore
from batch_common.formats.content import Part
from batch_common.formats.plan import RECORD, RECORD_BYTES, Index

_PIECE_BYTES: Final = 1 << 20
_BLOCK_LINES: Final = 1 << 14
_OFFSET_BYTES: Final = 8


def open_spool(folder: Path) -> BinaryIO:
    """Closing it frees the space."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


async def fill(spool: BinaryIO, blobs: BlobStore, parts: Sequence[Part]) -> int:
    """Copies the parts, one after the other, and ends the last line; returns the bytes copied.

    Raises BlobNotFoundError, BlobUnavailableError, OSError.
    """
    copied, last = 0, b"\n"
    for part in parts:
        async for piece in blobs.stream(part.key, 0, part.bytes):
            await asyncio.to_thread(spool.write, piece)
            copied, last = copied + len(piece), piece[-1:]
    if last != b"\n":
        await asyncio.to_thread(spool.write, b"\n")
    await asyncio.to_thread(spool.flush)
    return copied


async def planned_index(plan: BinaryIO, lines: int) -> AsyncIterator[bytes]:
    """The index of a plan that `plan.write_plan` has written."""
    end = lines * RECORD_BYTES
    for start in range(0, end, _PIECE_BYTES):
        size = min(_PIECE_BYTES, end - start)
        yield await asyncio.to_thread(os.pread, plan.fileno(), size, start)


async def planned_input(spool: BinaryIO, plan: BinaryIO, lines: int) -> AsyncIterator[bytes]:
    """The lines of the spool in planned order, in pieces of about 1 MiB."""
    pieces = _pieces(spool.fileno(), plan.fileno(), lines)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _pieces(spool: int, plan: int, lines: int) -> Iterator[bytes]:
    piece = bytearray()
    for first in range(0, lines, _BLOCK_LINES):
        for start, end in _runs(plan, lines, first, min(first + _BLOCK_LINES, lines)):
            for at in range(start, end, _PIECE_BYTES):
                piece += os.pread(spool, min(_PIECE_BYTES, end - at), at)
                if len(piece) >= _PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
    if piece:
        yield bytes(piece)


def _runs(plan: int, lines: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the spool; planned neighbours that are neighbours there make one."""
    index = _records(plan, first, end)
    table = lines * RECORD_BYTES
    size = (end - first) * _OFFSET_BYTES
    starts = np.frombuffer(os.pread(plan, size, table + first * _OFFSET_BYTES), np.uint64)
    ends = starts + index["length"]
    breaks = np.flatnonzero(starts[1:] != ends[:-1])
    heads = starts[np.r_[0, breaks + 1]]
    tails = ends[np.r_[breaks, len(ends) - 1]]
    return zip(heads.tolist(), tails.tolist(), strict=True)


def _records(plan: int, first: int, end: int) -> Index:
    size = (end - first) * RECORD_BYTES
    return np.frombuffer(os.pread(plan, size, first * RECORD_BYTES), RECORD)
