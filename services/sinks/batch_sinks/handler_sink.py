"""A result handler as a sink: each call in a thread of its own, with a limit."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from batch_common.logs import get_log
from batch_sinks.ended import EndedBatch
from batch_sinks.handler import Delivered, ResultHandler
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.storable import storable
from batch_sinks.thread_call import HandlerRaisedError, ThreadCall

log = get_log(__name__)

# Calls that ran out of time and did not end; beyond this many, no new ones are begun.
_LEFT_BEHIND: Final = 16
_LINK_CHARS: Final = 2000


class HandlerSink:
    """`limit_s` is for one call; `side_by_side` calls may run at once."""

    def __init__(
        self, name: str, handler: ResultHandler, *, limit_s: float, side_by_side: int
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self.side_by_side = self.for_each = side_by_side
        self._handler = handler
        # Any: what somebody else's code returns is not what it says until it is looked at.
        self._left: list[ThreadCall[Any]] = []

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        if not batch.has_file:
            return False
        enabled = await self._call("enabled", self._handler.enabled)
        if not isinstance(enabled, bool):
            raise DeliveryError(
                f"the handler's enabled() returned {_kind(enabled)}: it must return True or False"
            )
        return enabled

    async def deliver(self, item: Item, batch: EndedBatch) -> str | None:
        results, about = await batch.results(), batch.about(item)
        delivered = await self._call(
            f"{item.batch_id} attempt {item.attempt}",
            lambda: self._handler.handle(item.batch_id, results, about),
            on_cancel=results.end,
        )
        return _link(delivered)

    async def close(self) -> None:
        """Handlers keep no connections between calls that we could close."""

    async def _call(
        self,
        what: str,
        function: Callable[[], Any | Awaitable[Any]],
        on_cancel: Callable[[], object] = lambda: None,
    ) -> Any:
        self._left = [call for call in self._left if call.is_running]
        if len(self._left) >= _LEFT_BEHIND:
            raise DeliveryError(
                f"{len(self._left)} earlier calls of this handler never came back: find what they "
                "wait for, then restart the sinks service"
            )
        call: ThreadCall[Any] = ThreadCall(f"{self.name} {what}", function)
        try:
            return await call.wait(on_cancel)
        except HandlerRaisedError as error:
            if isinstance(error.__cause__, DeliveryError):
                raise DeliveryError(error.text) from None
            # Not the exception itself: a log that asks for its text would run code of its own.
            log.warning("handler_raised", call=what, exception=error.trace)
            raise DeliveryError(f"the handler raised {error}") from error
        finally:
            if call.is_running:
                self._left.append(call)


def _link(returned: Any) -> str | None:
    """What a handler returned says. Nothing of it is called. Raises DeliveryError."""
    if returned is True:
        return None
    if not isinstance(returned, Delivered):
        said = "" if returned is None or returned is False else f" but {_kind(returned)}"
        raise DeliveryError(
            f"the handler did not return True{said}, which would have said that all is delivered"
        )
    link = returned.link
    if link is not None and not _is_link(link):
        raise DeliveryError(
            f"the handler returned a link that cannot be kept ({_kind(link)}): it must be a str of "
            f"1 to {_LINK_CHARS} characters, without NUL and halves of surrogate pairs, or None"
        )
    return link


def _is_link(link: Any) -> bool:
    return type(link) is str and 0 < len(link) <= _LINK_CHARS and storable(link) == link


def _kind(returned: Any) -> str:
    """Its type: its own text may be long, or raise."""
    size = f" of {len(returned)}" if type(returned) is str else ""
    return f"{type(returned).__name__}{size}"
