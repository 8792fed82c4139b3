"""The requests of one chunk, looked up by the results that answer them."""

from typing import Any

import msgspec
import numpy as np

from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.plan import read_index, record_range
from batch_common.formats.result import result_line
from batch_sinks.json_line import decode_line


class Range(msgspec.Struct, frozen=True):
    """A chunk's lines in the planned input, and the keys of that and of its index."""

    input_key: str
    index_key: str
    first_line: int
    end_line: int
    first_byte: int
    end_byte: int


class Planned:
    """Read when first asked; holds one chunk's lines (`scheduler.chunk_max_bytes`)."""

    def __init__(self, blobs: BlobStore, lines: Range) -> None:
        self._blobs = blobs
        self._range = lines
        self._data = b""
        # Number in the user's file → where the line starts and ends in `_data`.
        self._places: dict[int, tuple[int, int]] | None = None

    async def request(self, result_id: str) -> dict[str, Any] | None:
        """None when the plan is gone, or the id is none of this chunk's."""
        if self._places is None:
            self._places = await self._read()
        try:
            start, end = self._places[result_line(result_id)]
        except (KeyError, ValueError):
            return None
        return decode_line(self._data[start:end])

    async def _read(self) -> dict[int, tuple[int, int]]:
        lines = self._range
        start, end = record_range(lines.first_line, lines.end_line)
        try:
            index = read_index(await self._blobs.get_range(lines.index_key, start, end))
            self._data = await self._blobs.get_range(
                lines.input_key, lines.first_byte, lines.end_byte
            )
        except BlobNotFoundError:
            return {}
        ends = np.cumsum(index["length"], dtype=np.int64)
        starts = ends - index["length"]
        return dict(
            zip(
                index["line"].tolist(),
                zip(starts.tolist(), ends.tolist(), strict=True),
                strict=True,
            )
        )
