"""`GET /v1/batches/{id}/events`: the batch object whenever it changes, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from batch_common.db import DATABASE_ERRORS
from batch_common.state import TERMINAL
from batch_common.tasks import repeat, wait_any
from batch_gateway import metrics
from batch_gateway.batch_store import BatchStore
from batch_gateway.documented import ERRORS
from batch_gateway.objects import Batch

_EVERY_S: Final = 0.5
# Proxies close connections on which nothing passes.
_KEEP_ALIVE_S: Final = 15.0


class _Watcher:
    """One stream's view: only the latest state is kept for a slow client."""

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self.latest: Batch | None = None
        self.changed = asyncio.Event()

    def show(self, batch: Batch) -> None:
        if batch != self.latest:
            self.latest = batch
            self.changed.set()


class Progress:
    """One query at a time serves every open stream."""

    def __init__(self, store: BatchStore, stop: asyncio.Event) -> None:
        self._store = store
        self._stop = stop
        self._watchers: set[_Watcher] = set()

    async def run(self) -> None:
        await repeat(
            "progress",
            self._look,
            wake=asyncio.Event(),
            stop=self._stop,
            every_s=_EVERY_S,
            catch=DATABASE_ERRORS,
        )

    async def _look(self) -> bool:
        watchers = list(self._watchers)
        if not watchers:
            return False
        found = await self._store.current({watcher.batch_id for watcher in watchers})
        by_id = {batch.id: batch for batch in found}
        for watcher in watchers:
            if watcher.batch_id in by_id:
                watcher.show(by_id[watcher.batch_id])
        return False

    async def open(self, tenant: str, batch_id: str) -> AsyncIterator[bytes]:
        """The events of one stream. Raises ApiError (404) before the first."""
        batch = await self._store.find(tenant, batch_id)
        return self._events(batch)

    async def _events(self, batch: Batch) -> AsyncIterator[bytes]:
        with self._watching(batch) as watcher:
            while not self._stop.is_set():
                if not watcher.changed.is_set():
                    await wait_any(watcher.changed, self._stop, timeout_s=_KEEP_ALIVE_S)
                if not watcher.changed.is_set():
                    yield b": keep-alive\n\n"
                    continue
                watcher.changed.clear()
                batch = watcher.latest or batch
                yield b"data: " + msgspec.json.encode(batch) + b"\n\n"
                if batch.status in TERMINAL:
                    return

    @contextmanager
    def _watching(self, batch: Batch) -> Iterator[_Watcher]:
        watcher = _Watcher(batch.id)
        watcher.show(batch)
        self._watchers.add(watcher)
        with metrics.OPEN_STREAMS.labels("events").track_inprogress():
            try:
                yield watcher
            finally:
                self._watchers.discard(watcher)


@get("/v1/batches/{batch_id:str}/events", responses=ERRORS, tags=["Batches"])
async def batch_events(
    batch_id: FromPath[str], tenant: NamedDependency[str], progress: NamedDependency[Progress]
) -> Stream:
    """Server-sent events, each the batch object; the stream ends after a terminal status."""
    return Stream(
        await progress.open(tenant, batch_id),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


ROUTES = [batch_events]
