"""The requests of one chunk, looked up by the results that answer them."""

from itertools import accumulate
from typing import Any

import msgspec

from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
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
    """Holds one chunk's lines (`scheduler.chunk_max_bytes`), once they are loaded."""

    def __init__(self, blobs: BlobStore, lines: Range) -> None:
        self._blobs = blobs
        self._range = lines
        self._data = b""
        # Number in the user's file → where the line starts and ends in `_data`.
        self._places: dict[int, tuple[int, int]] | None = None

    async def load(self) -> None:
        """Once; a plan that is gone is an empty one."""
        if self._places is None:
            self._places = await self._read()

    def request(self, result_id: str) -> dict[str, Any] | None:
        """None when the plan is gone, or the id is none of this chunk's."""
        try:
            start, end = (self._places or {})[result_line(result_id)]
        except (KeyError, ValueError):
            return None
        return decode_line(self._data[start:end])

    async def _read(self) -> dict[int, tuple[int, int]]:
        # Some 15 MiB of numpy, which handlers that read no requests do without.
        from batch_common.formats.plan import read_index, record_range  # noqa: PLC0415

        lines = self._range
        start, end = record_range(lines.first_line, lines.end_line)
        try:
            index = read_index(await self._blobs.get_range(lines.index_key, start, end))
            self._data = await self._blobs.get_range(
                lines.input_key, lines.first_byte, lines.end_byte
            )
        except BlobNotFoundError:
            return {}
        ends = list(accumulate(index["length"].tolist()))
        starts = [0, *ends[:-1]]
        return dict(zip(index["line"].tolist(), zip(starts, ends, strict=True), strict=True))
