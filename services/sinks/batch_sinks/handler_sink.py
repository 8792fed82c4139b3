"""A result handler as a sink: each call in a thread of its own, with a limit."""

from collections.abc import Awaitable, Callable
from typing import Final

from batch_common.logs import get_log
from batch_sinks.ended import EndedBatch
from batch_sinks.handler import Delivered, Outcome, ResultHandler
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.thread_call import HandlerRaisedError, ThreadCall

log = get_log(__name__)

# Calls that ran out of time and did not end; beyond this many, no new ones are begun.
_LEFT_BEHIND: Final = 16


class HandlerSink:
    """`limit_s` is for one call; `side_by_side` calls may run at once."""

    def __init__(
        self, name: str, handler: ResultHandler, *, limit_s: float, side_by_side: int
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self.side_by_side = self.for_each = side_by_side
        self._handler = handler
        self._left: list[ThreadCall[Outcome]] = []

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        return batch.has_file and bool(await self._call("enabled", self._handler.enabled))

    async def deliver(self, item: Item, batch: EndedBatch) -> str | None:
        results, about = await batch.results(), batch.about(item)
        delivered = await self._call(
            f"{item.batch_id} attempt {item.attempt}",
            lambda: self._handler.handle(item.batch_id, results, about),
            on_cancel=results.end,
        )
        if not delivered:
            raise DeliveryError(
                "the handler did not return True, which would have said that all is delivered"
            )
        return delivered.link if isinstance(delivered, Delivered) else None

    async def close(self) -> None:
        """Handlers keep no connections between calls that we could close."""

    async def _call(
        self,
        what: str,
        function: Callable[[], Outcome | Awaitable[Outcome]],
        on_cancel: Callable[[], object] = lambda: None,
    ) -> Outcome:
        self._left = [call for call in self._left if call.is_running]
        if len(self._left) >= _LEFT_BEHIND:
            raise DeliveryError(
                f"{len(self._left)} earlier calls of this handler never came back: find what they "
                "wait for, then restart the sinks service"
            )
        call: ThreadCall[Outcome] = ThreadCall(f"{self.name} {what}", function)
        try:
            return await call.wait(on_cancel)
        except HandlerRaisedError as error:
            if isinstance(error.__cause__, DeliveryError):
                raise error.__cause__ from None
            log.warning("handler_raised", call=what, exc_info=error.__cause__)
            raise DeliveryError(f"the handler raised {error}") from error
        finally:
            if call.is_running:
                self._left.append(call)
