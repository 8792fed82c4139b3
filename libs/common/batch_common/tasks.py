"""Named background tasks that stop the service when they die."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

from batch_common.logs import get_log
from batch_common.process_metrics import WORK_FAILURES

log = get_log(__name__)

_CANCEL_AGAIN_S: Final = 1.0


class Tasks:
    """Background tasks of one service.

    A task that raises sets `stop`, and its exception is raised by `__aexit__`, so a dead
    heartbeat can never go unnoticed. Leaving the block cancels and joins what still runs.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("task_died", task=task.get_name(), exc_info=error)
        self._failure = self._failure or error
        self._stop.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await cancel_all(self._tasks)
        if error is None and self._failure is not None:
            raise self._failure


async def cancel_all(tasks: set[asyncio.Task[None]]) -> None:
    """Cancels and joins; the tasks' own exceptions are theirs to report.

    More than once where needed: until Python 3.12 `asyncio.wait_for` swallows a cancellation
    that comes together with its result, and such a task would run on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()


async def wait_any(*events: asyncio.Event, timeout_s: float) -> None:
    """Returns when one of the events is set or the time is up."""
    waiters = {asyncio.ensure_future(event.wait()) for event in events}
    try:
        await asyncio.wait(waiters, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def repeat(
    name: str,
    work: Callable[[], Awaitable[bool]],
    *,
    wake: asyncio.Event,
    stop: asyncio.Event,
    every_s: float,
    catch: type[Exception] | tuple[type[Exception], ...],
) -> None:
    """Runs `work` until `stop`: at once while it returns True (more to do), else when `wake`
    is set or after `every_s`. Exceptions in `catch` are logged and tried again, with pauses
    that grow to 10 s; any other ends the task.
    """
    failures = WORK_FAILURES.labels(name)
    pause_s = every_s
    while not stop.is_set():
        wake.clear()
        try:
            more = await work()
            pause_s = every_s
        except catch as error:
            failures.inc()
            log.warning("work_failed", work=name, error=str(error), kind=type(error).__name__)
            pause_s = min(max(pause_s, 0.1) * 2, 10.0)
            await wait_any(stop, timeout_s=pause_s)
            continue
        if not more:
            await wait_any(wake, stop, timeout_s=pause_s)
