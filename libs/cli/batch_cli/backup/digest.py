"""Bytes on their way, counted and digested."""

import asyncio
import hashlib
from collections.abc import AsyncIterator


class Digested:
    """`pieces()` hands the source on; `bytes` and `sha256` are of what has passed."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self.bytes = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._source:
            await asyncio.to_thread(self._digest.update, piece)
            self.bytes += len(piece)
            yield piece

    async def drain(self) -> None:
        """Reads to the end."""
        async for _ in self.pieces():
            pass

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
