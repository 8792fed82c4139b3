"""Keeping a delivery ours while its chunk is worked on, and noticing when it no longer is."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from batch_common.errors import BusUnavailableError
from batch_common.logs import get_log
from batch_common.pull import Delivery

log = get_log(__name__)

# A machine that sleeps stops the monotonic clock but not this one.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class KeepAlive:
    """Restarts `ack_wait` three times in each. Starts counting when made."""

    def __init__(self, delivery: Delivery, ack_wait_s: float) -> None:
        self._delivery = delivery
        self._ack_wait_s = ack_wait_s
        self._last = time.clock_gettime(_CLOCK)

    @property
    def is_expired(self) -> bool:
        """This process was suspended for so long that the message may be somebody else's.

        A zombie's ack, nak and keep-alive would act on the new holder's delivery.
        """
        return time.clock_gettime(_CLOCK) - self._last > self._ack_wait_s

    async def run(self, on_expired: Callable[[], None]) -> None:
        """Until cancelled, or expired."""
        while not self.is_expired:
            self._last = time.clock_gettime(_CLOCK)
            try:
                await self._delivery.in_progress()
            except BusUnavailableError as error:
                log.debug("keep_alive_failed", subject=self._delivery.subject, error=str(error))
            await asyncio.sleep(self._ack_wait_s / 3)
        log.warning("delivery_expired", subject=self._delivery.subject)
        on_expired()
