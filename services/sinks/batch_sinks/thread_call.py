"""Calling code that is not ours: in a thread of its own, which can be left behind."""

import asyncio
import contextvars
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from batch_sinks.storable import storable

T = TypeVar("T")

# A call that was asked to end may take this long to do so.
GRACE_S: Final = 5.0
# What is kept of an error's text.
_TEXT_CHARS: Final = 2000
_TRACE_CHARS: Final = 20_000


class ThreadCall(Generic[T]):
    """One call of a function, or coroutine function, that may block or never return.

    The thread is a daemon: one that hangs keeps no process from leaving.
    """

    def __init__(self, name: str, function: Callable[[], T | Awaitable[T]]) -> None:
        self._function = function
        self._caller = asyncio.get_running_loop()
        self._outcome: asyncio.Future[T] = self._caller.create_future()
        # Set while a coroutine runs in the thread: how to cancel it.
        self._cancel: Callable[[], object] = lambda: None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=name, daemon=True
        )

    async def wait(self, on_cancel: Callable[[], object]) -> T:
        """What the function returns or raises.

        Cancelled: calls `on_cancel`, cancels a coroutine, and waits GRACE_S for the thread.
        """
        self._thread.start()
        try:
            return await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            on_cancel()
            self._cancel()
            await asyncio.wait({self._outcome}, timeout=GRACE_S)
            raise

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            returned: Any = self._function()
            if inspect.isawaitable(returned):
                returned = asyncio.run(self._awaited(returned))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's to judge
            self._settle(error=error)
        else:
            self._settle(returned)

    async def _awaited(self, returned: Awaitable[T]) -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - for the type checker: asyncio.run made it
        self._cancel = lambda: _call_in(loop, task.cancel)
        return await returned

    def _settle(self, returned: Any = None, error: BaseException | None = None) -> None:
        # Made here: the error's own text may take its time, too.
        raised = None if error is None else HandlerRaisedError(error)

        def settle() -> None:
            if self._outcome.done():
                return
            if raised is None:
                self._outcome.set_result(returned)
            else:
                self._outcome.set_exception(raised)
                self._outcome.exception()  # nobody may be waiting any more

        _call_in(self._caller, settle)


class HandlerRaisedError(Exception):
    """What the function raised is the cause, be it an exit or a cancellation of its own."""

    def __init__(self, cause: BaseException) -> None:
        self.text = _text(lambda: str(cause), _TEXT_CHARS)
        self.trace = _text(lambda: "".join(traceback.format_exception(cause)), _TRACE_CHARS)
        kind = type(cause).__name__
        super().__init__(f"{kind}: {self.text}" if self.text else kind)
        self.__cause__ = cause


def _text(make: Callable[[], str], chars: int) -> str:
    """Its beginning: it may hold all that was to be delivered. Its own code may fail as well."""
    try:
        text: str = storable(make()[:chars])
        return text
    except BaseException as another:  # noqa: BLE001 - as for the call itself
        return f"its text raised {type(another).__name__}"


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Nothing when the loop has closed: its process is leaving, or the coroutine has ended."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return
