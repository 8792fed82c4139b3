"""A result file on its way: hashed as it is read, compressed as it is sent."""

import hashlib
import zlib
from collections.abc import AsyncIterator
from typing import Final

from batch_sinks.results import Lines

# The container of gzip, without a time: the same bytes in every attempt.
_GZIP: Final = 31


class FileStream:
    """`sha256` and `bytes` are of the content, and right once all pieces have been taken."""

    def __init__(self, lines: Lines, *, compress: bool) -> None:
        self._lines = lines
        self._hash = hashlib.sha256()
        self._compressor = zlib.compressobj(wbits=_GZIP) if compress else None
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._lines:
            self._hash.update(piece)
            self.bytes += len(piece)
            sent = self._compressor.compress(piece) if self._compressor else piece
            if sent:
                yield sent
        if self._compressor:
            yield self._compressor.flush()
