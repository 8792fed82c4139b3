"""Does the engine still live? Asked when an answer fails to come, and from time to time."""

import asyncio
import time
from typing import Final

from batch_common.logs import get_log
from batch_common.tasks import wait_any
from batch_gpu_runner import canary
from batch_gpu_runner.engines.base import Engine

log = get_log(__name__)

_PROBE_S: Final = 5.0
_ASK_AGAIN_S: Final = 0.5


class Pulse:
    """Of one engine over all its lives. The window reports each answer with `heard`."""

    def __init__(self, engine: Engine, silence_s: float, timeout_s: float) -> None:
        """An engine is lost after `silence_s`; a request may take `timeout_s`."""
        # Answers so far that came from a living engine.
        self.answers = 0
        self._engine = engine
        self._silence_s = silence_s
        self._canary_s = min(canary.TIMEOUT_S, timeout_s)
        self._mute = asyncio.Event()
        self._canary: asyncio.Task[bool] | None = None

    def heard(self) -> None:
        """A request was answered."""
        self.answers += 1

    async def until_lost(self) -> str:
        """Waits until this life of the engine answers nothing any more, and says how that showed.

        Never returns for an engine that cannot be asked.
        """
        self._mute.clear()
        self._canary = None
        every_s = min(_PROBE_S, self._silence_s / 3)
        answers, silent_s = self.answers, 0.0
        while not self._mute.is_set():
            began = time.monotonic()
            await wait_any(self._mute, timeout_s=every_s)
            serves = await self._engine.is_serving()
            if serves is not False or self.answers != answers:
                answers, silent_s = self.answers, 0.0
                continue
            # A round that took longer than that was our own suspension.
            silent_s += min(time.monotonic() - began, 3 * every_s)
            if silent_s >= self._silence_s:
                return f"it stopped answering: nothing for {self._silence_s:g} s, not even /health"
        return "it stopped answering: requests ran out of time, and a small one after them as well"

    async def until_serving(self) -> None:
        """After a broken connection or a 5xx: returns once the engine says that it serves.

        At once for an engine that cannot be asked. While it is dead or dying its errors are no
        results, so this waits for its next life; the window cancels the wait when it has ended.
        """
        while await self._engine.is_serving() is False:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(_ASK_AGAIN_S)

    async def until_answering(self) -> None:
        """After a request that was silent while all others were: returns when a small one is
        answered. Without an answer the engine is lost, and this waits as `until_serving` does.
        """
        if await self._engine.is_serving() is None:
            return
        if self._canary is None or self._canary.done():
            sending = canary.answers(self._engine, self._canary_s)
            self._canary = asyncio.create_task(sending, name="canary")
        if not await asyncio.shield(self._canary):
            log.warning("canary_unanswered", within_s=self._canary_s)
            self._mute.set()
            await asyncio.Event().wait()

    async def check(self) -> bool:
        """Whether an engine that has just started answers a request."""
        return await canary.answers(self._engine, self._canary_s)
