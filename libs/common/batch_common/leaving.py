"""A service that was asked to leave does leave, whatever hangs in it.

Its drain has limits of its own, but a thread that waits for a lock or a dead disk cannot be
cancelled, and the interpreter waits for it. Ending hard is no loss: any moment is one at which a
process may die.
"""

import asyncio
import os
import threading
from contextlib import suppress
from typing import Final

from batch_common.config import Config
from batch_common.logs import get_log

log = get_log(__name__)

# For what has a drain time of its own, this comes on top of it.
_MARGIN_S: Final = 9.7
_DRAIN_S: Final = 20.0


def leave_s(service: str, config: Config) -> float:
    """Seconds from the signal to the end: below 30 unless a longer drain is configured."""
    drains = {"gateway": config.gateway.drain_s, "runner": config.runner.drain_s}
    return drains.get(service, _DRAIN_S) + _MARGIN_S


async def leave_in_time(stop: asyncio.Event, limit_s: float, exit_code: int) -> None:
    """From `stop` on the process has `limit_s`. Runs beside the service, until it is cancelled."""
    await stop.wait()
    loop = asyncio.get_running_loop()
    timer = threading.Timer(limit_s, _end, (loop, limit_s, exit_code))
    timer.daemon = True
    timer.start()


def _end(loop: asyncio.AbstractEventLoop, limit_s: float, exit_code: int) -> None:
    with suppress(RuntimeError):  # the set of tasks changes while it is read
        waiting = [task.get_name() for task in asyncio.all_tasks(loop)]
        threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
        log.error("leaves_late", after_s=limit_s, tasks=waiting, threads=threads)
    os._exit(exit_code)
