"""Whether NATS answers this scheduler.

The lease lives in the database, and says nothing of that: a holder that is cut off from NATS alone
would keep it for ever and neither see a completion nor offer a chunk.
"""

import asyncio
import time
from typing import Final

from batch_common.bus import Bus
from batch_common.errors import BusUnavailableError
from batch_common.logs import get_log
from batch_common.tasks import wait_any

log = get_log(__name__)

_EVERY_S: Final = 1.0
_ANSWER_S: Final = 2.0


class Reach:
    """`patience_s`: a server that restarts is waited for so long."""

    def __init__(self, bus: Bus, patience_s: float) -> None:
        self.lost = asyncio.Event()
        self._bus = bus
        self._patience_s = patience_s
        self._heard_at = time.monotonic()
        self._failures = 0

    async def watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.look()
            await wait_any(stop, timeout_s=_EVERY_S)

    async def look(self) -> None:
        """Sets `lost`, or clears it."""
        try:
            await self._bus.echo(_ANSWER_S)
        except BusUnavailableError as error:
            self._missed(error)
        else:
            self._failures = 0
            self._heard_at = time.monotonic()
            self.lost.clear()

    def _missed(self, error: BusUnavailableError) -> None:
        """Not by the clock alone: a process that was suspended has heard nothing either."""
        self._failures += 1
        silent_s = time.monotonic() - self._heard_at
        log.debug("nats_does_not_answer", for_s=round(silent_s, 1), error=str(error))
        if self._failures > 1 and silent_s > self._patience_s:
            self.lost.set()
