"""Calling the driver from the event loop: in a thread that may be left hanging."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A driver whose GPU has failed may never return; a healthy one takes milliseconds, and seconds at
# most when it first wakes the GPUs up.
HANGS_AFTER_S: Final = 10.0


class DriverHangsError(Exception):
    """The driver has not returned from a call, this one or one before it."""


class DriverCalls:
    """One call at a time. The threads are daemons: a hanging one keeps no process from leaving."""

    def __init__(self) -> None:
        self._running: asyncio.Future[Any] | None = None

    async def call(self, function: Callable[[], T]) -> T:
        """What it returns or raises. Raises DriverHangsError after HANGS_AFTER_S.

        The call goes on in its thread even so, and until it returns no other is made.
        """
        if self._running is not None:
            await self._wait(self._running)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._running = outcome
        work = threading.Thread(
            target=_run, args=(function, loop, outcome), name="nvml", daemon=True
        )
        work.start()
        await self._wait(outcome)
        return outcome.result()

    async def _wait(self, outcome: asyncio.Future[Any]) -> None:
        done, _ = await asyncio.wait({outcome}, timeout=HANGS_AFTER_S)
        if not done:
            raise DriverHangsError
        outcome.exception()  # nobody may be interested any more
        self._running = None


def _run(
    function: Callable[[], T], loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[T]
) -> None:
    try:
        returned = function()
    except Exception as error:  # noqa: BLE001 - it is the caller's to judge
        _settle(loop, outcome, outcome.set_exception, error)
    else:
        _settle(loop, outcome, outcome.set_result, returned)


def _settle(
    loop: asyncio.AbstractEventLoop,
    outcome: asyncio.Future[T],
    settle: Callable[[Any], None],
    value: Any,
) -> None:
    def once() -> None:
        if not outcome.done():
            settle(value)

    with contextlib.suppress(RuntimeError):  # the loop is gone: the process is leaving
        loop.call_soon_threadsafe(once)
