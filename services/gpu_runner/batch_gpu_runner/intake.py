"""Pulling chunks of one model, as many at once as this runner may hold."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from batch_common import subjects
from batch_common.bus import Bus
from batch_common.config import Runner
from batch_common.errors import BusUnavailableError
from batch_common.events import ChunkReady, decode
from batch_common.logs import get_log
from batch_common.pull import Again, Consumer, Delivery, Puller
from batch_common.tasks import wait_any

log = get_log(__name__)

_PAUSE_S: Final = 1.0
_WAIT_S: Final = 5.0
_HELD_S: Final = 5.0
_UNREADABLE_S: Final = 60.0


class Intake:
    """`take` is called with each chunk to hold; `sent` and `let_go` make room for the next.

    Room is counted in chunks that still have lines to send: a slow last answer must not keep the
    next chunk out while the window runs dry. All in all twice as many are held at most.
    """

    def __init__(
        self,
        bus: Bus,
        model: str,
        settings: Runner,
        up: asyncio.Event,
        leaving: asyncio.Event,
        take: Callable[[Delivery, ChunkReady], None],
    ) -> None:
        """Nothing is pulled unless `up` is set."""
        consumer = Consumer(
            stream=subjects.CHUNKS,
            durable=subjects.runner_durable(model),
            filter=subjects.chunks_of(model),
            ack_wait_s=settings.ack_wait_s,
        )
        self._puller = Puller(bus, consumer)
        self._room = settings.chunks_held
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._up = up
        self._leaving = leaving
        self._take = take
        self._held: set[str] = set()
        self._unsent: set[str] = set()

    async def run(self) -> None:
        """Until `leaving`. Never cancel it in mid-fetch: it returns within a few seconds."""
        while not self._leaving.is_set():
            if not self._has_room.is_set():
                await wait_any(self._has_room, self._leaving, timeout_s=_WAIT_S)
            elif not self._up.is_set():
                await wait_any(self._up, self._leaving, timeout_s=_WAIT_S)
            else:
                await self._pull()
        await self._puller.close()

    def sent(self, chunk: str) -> None:
        """Every line of the chunk has been sent; answers are still awaited."""
        self._unsent.discard(chunk)
        self._count()

    def let_go(self, chunk: str) -> None:
        """The chunk is no longer held."""
        self._held.discard(chunk)
        self.sent(chunk)

    def _count(self) -> None:
        if len(self._unsent) < self._room and len(self._held) < 2 * self._room:
            self._has_room.set()
        else:
            self._has_room.clear()

    async def _pull(self) -> None:
        try:
            delivery = await self._puller.fetch()
            if delivery is not None:
                await self._receive(delivery)
        except BusUnavailableError as error:
            log.warning("pull_failed", error=str(error))
            await wait_any(self._leaving, timeout_s=_PAUSE_S)

    async def _receive(self, delivery: Delivery) -> None:
        try:
            ready = decode(delivery.data, ChunkReady)
        except msgspec.DecodeError as error:
            # A newer release's, perhaps; a runner of that release may be there.
            log.warning("chunk_unreadable", subject=delivery.subject, error=str(error))
            await delivery.settle(Again(_UNREADABLE_S))
            return
        if self._leaving.is_set():
            await delivery.settle(Again(0))
        elif ready.chunk in self._held:
            # Published again while we work on it: after a lost store, or a late keep-alive.
            await delivery.settle(Again(_HELD_S))
        else:
            self._hold(delivery, ready)

    def _hold(self, delivery: Delivery, ready: ChunkReady) -> None:
        self._held.add(ready.chunk)
        self._unsent.add(ready.chunk)
        self._count()
        self._take(delivery, ready)
