"""The request lines that an error file names, cut out of the planned input.

What is kept in memory is a bit for each line of the batch, and a window of a megabyte.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row

from batch_common.blobs import WINDOW_BYTES, BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.content import Part
from batch_common.formats.plan import Index, read_index, record_range
from batch_common.formats.result import result_line
from batch_common.keys import plan_index, plan_input
from batch_gateway.content import read_parts

_INDEX_LINES: Final = 1 << 14


class LineSet:
    """Numbers of lines, counted from 1."""

    def __init__(self) -> None:
        self._bits: NDArray[np.uint8] = np.zeros(1 << 10, np.uint8)
        self.count = 0

    def add(self, numbers: Sequence[int]) -> None:
        """None of them for a second time."""
        found = np.array(numbers, np.int64)
        if not len(found):
            return
        missing = int(found.max() >> 3) + 1 - len(self._bits)
        if missing > 0:
            grown = np.zeros(max(missing, len(self._bits)), np.uint8)
            self._bits = np.concatenate((self._bits, grown))
        np.bitwise_or.at(self._bits, found >> 3, (1 << (found & 7)).astype(np.uint8))
        self.count += len(found)

    def mask(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the numbers are in the set."""
        places = (numbers >> 3).astype(np.int64)
        known = places < len(self._bits)
        bits = self._bits[np.where(known, places, 0)] >> (numbers & 7).astype(np.uint8)
        chosen: NDArray[np.bool_] = known & ((bits & 1) == 1)
        return chosen


class _Identified(msgspec.Struct):
    id: str


async def failed_lines(blobs: BlobStore, parts: Sequence[Part]) -> LineSet:
    """The lines that an error file has results for. Raises BlobNotFoundError."""
    found, rest = LineSet(), b""
    size = sum(part.bytes for part in parts)
    async for piece in read_parts(blobs, parts, 0, size):
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            found.add(await asyncio.to_thread(_numbers, whole))
    return found


def _numbers(lines: bytes) -> list[int]:
    decode = msgspec.json.Decoder(_Identified).decode
    return [result_line(decode(line).id) for line in lines.split(b"\n")]


async def planned_lines(blobs: BlobStore, batch: Row[Any], wanted: LineSet) -> AsyncIterator[bytes]:
    """The wanted lines in planned order, in pieces of about 1 MiB.

    Without the last newline: the user's file may have had none, and been as large as is allowed.
    Raises BlobNotFoundError when the plan is gone or lacks one of them.
    """
    window = _Window(blobs, plan_input(batch.id, batch.plan))
    found, piece = 0, bytearray()
    async for start, end, lines in _runs(blobs, batch, wanted):
        found += lines
        async for cut in window.cuts(start, end):
            if len(piece) >= WINDOW_BYTES:
                yield bytes(piece)
                piece.clear()
            piece += cut
    if found != wanted.count:
        raise BlobNotFoundError(window.key)
    yield bytes(piece).removesuffix(b"\n")


class _Window:
    """What was read last of an object: neighbours cost one read."""

    def __init__(self, blobs: BlobStore, key: str) -> None:
        self._blobs = blobs
        self.key = key
        self._data = b""
        self._start = 0

    async def cuts(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a range, at most a window at a time. Raises BlobNotFoundError."""
        while start < end:
            if not self._start <= start < self._start + len(self._data):
                self._data = await self._blobs.get_range(self.key, start, start + WINDOW_BYTES)
                self._start = start
            if not self._data:
                raise BlobNotFoundError(self.key)
            cut = self._data[start - self._start : end - self._start]
            yield cut
            start += len(cut)


async def _runs(
    blobs: BlobStore, batch: Row[Any], wanted: LineSet
) -> AsyncIterator[tuple[int, int, int]]:
    """Byte ranges of the planned input with the number of lines in each; neighbours make one."""
    key, offset = plan_index(batch.id, batch.plan), 0
    for first in range(0, batch.total, _INDEX_LINES):
        start, end = record_range(first, min(first + _INDEX_LINES, batch.total))
        data = await blobs.get_range(key, start, end)
        if len(data) < end - start:
            raise BlobNotFoundError(key)
        index = read_index(data)
        for run in _neighbours(index, wanted, offset):
            yield run
        offset += int(index["length"].sum(dtype=np.uint64))


def _neighbours(index: Index, wanted: LineSet, offset: int) -> Iterator[tuple[int, int, int]]:
    ends = offset + np.cumsum(index["length"], dtype=np.int64)
    chosen = np.r_[False, wanted.mask(index["line"]), False]
    edges = np.flatnonzero(chosen[1:] != chosen[:-1]).tolist()
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start = int(ends[first]) - int(index["length"][first])
        yield start, int(ends[last - 1]), last - first
