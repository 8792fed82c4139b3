"""Result lines, brought into the order of the input."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from batch_common.errors import PermanentError
from batch_common.formats.result import result_line


class IncompleteResultsError(PermanentError):
    """A request has no result line, or two."""


class _Identified(msgspec.Struct):
    id: str


class _Index:
    """Where the result of each input line stands: 16 bytes for a line, whatever its size."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._sizes = array("q")  # 0: no result
        self.found = 0

    def add(self, line: int, offset: int, size: int) -> None:
        missing = line + 1 - len(self._sizes)
        if missing > 0:
            grown = bytes(8 * max(missing, len(self._sizes) // 2))
            self._offsets.frombytes(grown)
            self._sizes.frombytes(grown)
        if self._sizes[line]:
            raise IncompleteResultsError(f"the request on line {line} has two results")
        self._offsets[line], self._sizes[line] = offset, size
        self.found += 1

    def places(self) -> Iterator[tuple[int, int]]:
        """Offset and size, in the order of the input's lines."""
        return ((o, s) for o, s in zip(self._offsets, self._sizes, strict=True) if s)


def write_in_order(results: Path, target: BinaryIO, total: int) -> None:
    """Copies each line of `results` to `target`. Raises IncompleteResultsError unless there is one
    for each of `total` requests.
    """
    index = _Index()
    offset = 0
    with results.open("rb") as file:
        for line in file:
            identifier = msgspec.json.decode(line, type=_Identified).id
            index.add(result_line(identifier), offset, len(line))
            offset += len(line)
        if index.found != total:
            raise IncompleteResultsError(f"{index.found} of {total} requests have a result")
        target.writelines(os.pread(file.fileno(), size, at) for at, size in index.places())
