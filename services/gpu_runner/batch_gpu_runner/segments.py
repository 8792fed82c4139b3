"""Saving results as they come: a buffer, and segments made durable from it."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.config import Runner
from batch_common.errors import BlobStoreFullError, BlobUnavailableError
from batch_common.events import ChunkReady
from batch_common.formats.segment import Record, Segment, decode_segment, encode_segment
from batch_common.formats.usage import total
from batch_common.logs import get_log
from batch_gpu_runner import metrics

log = get_log(__name__)

# A blob store slower than the engine stops the feeding here, in units of flush_bytes.
_FULL: Final = 4
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Counted(msgspec.Struct, frozen=True):
    """Lines with a durable result."""

    completed: int = 0
    failed: int = 0


class Merge:
    """The first result of each line, over segments in the order of their keys."""

    def __init__(self, ready: ChunkReady) -> None:
        self._first_line = ready.first_line
        # A byte for each line, 1 once a result was seen.
        self.has = bytearray(ready.end_line - ready.first_line)

    def winners(self, records: list[Record]) -> list[Record]:
        """Those that are the first of their line."""
        won: list[Record] = []
        for record in records:
            position = record.line - self._first_line
            if 0 <= position < len(self.has) and not self.has[position]:
                self.has[position] = 1
                won.append(record)
        return won


async def read_segment(blobs: BlobStore, key: str) -> list[Record]:
    """Its records. Raises BlobNotFoundError, BlobUnavailableError, msgspec.DecodeError."""
    return decode_segment(await blobs.get(key)).records


class SegmentWriter:
    """One attempt's buffer. `add` while `run` runs; `close` makes the rest durable."""

    def __init__(
        self,
        blobs: BlobStore,
        ready: ChunkReady,
        attempt: str,
        settings: Runner,
        saved: Counted,
        on_saved: Callable[[], None],
    ) -> None:
        """`saved`: what earlier attempts left. `on_saved` is called when there is room again."""
        self.saved = saved
        self.attempt = attempt
        # This attempt's durable segments.
        self.keys: list[str] = []
        self._blobs = blobs
        self._ready = ready
        self._settings = settings
        self._on_saved = on_saved
        self._records: list[Record] = []
        self._bytes = 0
        self._saving_bytes = 0
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._closing = False

    @property
    def is_full(self) -> bool:
        return self._bytes + self._saving_bytes >= _FULL * self._settings.flush_bytes

    def add(self, record: Record) -> None:
        """Not durable, and not counted as saved, until the next flush."""
        self._records.append(record)
        self._bytes += len(record.data)
        if len(self._records) == 1:
            self._some.set()
        settings = self._settings
        if len(self._records) >= settings.flush_results or self._bytes >= settings.flush_bytes:
            self._enough.set()

    def close(self) -> None:
        """Ends `run` once everything is durable; nothing may be added after."""
        self._closing = True
        self._some.set()
        self._enough.set()

    async def run(self) -> None:
        """Flushes whenever there is enough, or something has waited for `flush_s`."""
        while not (self._closing and not self._records):
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.flush_s):
                    await self._enough.wait()
            await self._flush()

    async def _flush(self) -> None:
        records, self._records = self._records, []
        self._saving_bytes, self._bytes = self._bytes, 0
        if not self._closing:
            self._some.clear()
            self._enough.clear()
        if not records:
            return
        key = keys.segment(self._ready.prefix, self.attempt, len(self.keys) + 1)
        await self._put(key, encode_segment(Segment(self._ready.chunk, self.attempt, records)))
        self._saving_bytes = 0
        self.keys.append(key)
        self._count(records)
        self._on_saved()

    async def _put(self, key: str, data: bytes) -> None:
        """Tries for ever: a full disk gets room again, and the results exist only here."""
        pause_s = _FIRST_PAUSE_S
        began = time.monotonic()
        while True:
            try:
                await self._blobs.put(key, data)
                metrics.FLUSH_SECONDS.observe(time.monotonic() - began)
                return
            except (BlobUnavailableError, BlobStoreFullError) as error:
                metrics.FLUSH_FAILURES.inc()
                log.warning("flush_failed", chunk=self._ready.chunk, error=str(error))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _count(self, records: list[Record]) -> None:
        completed = sum(record.succeeded for record in records)
        failed = len(records) - completed
        self.saved = Counted(self.saved.completed + completed, self.saved.failed + failed)
        model = self._ready.model
        usage = total(record.usage for record in records if record.usage)
        metrics.REQUESTS.labels(model, "completed").inc(completed)
        metrics.REQUESTS.labels(model, "failed").inc(failed)
        for kind, tokens in usage.by_kind():
            metrics.TOKENS.labels(model, kind).inc(tokens)
