"""May this runner take chunks, and keep those it has? Of its engine and its GPUs, in one place."""

import asyncio
from collections.abc import Callable

from batch_gpu_runner.presence import Presence, Status


class Availability:
    """`up` is set while chunks may be pulled: the engine serves, and no GPU is critical.

    `is_down`: the runner holds no chunks, so that others have them.
    """

    def __init__(self, presence: Presence, let_go: Callable[[], None]) -> None:
        """`let_go` is called when the chunks held are to be handed back."""
        self.up = asyncio.Event()
        self.is_down = False
        self._presence = presence
        self._let_go = let_go
        self._engine: tuple[Status, str | None] = ("starting", None)
        self._gpu_why: str | None = None

    def engine_serves(self) -> None:
        self._engine = ("ready", None)
        self._apply()

    def engine_away(self, why: str) -> None:
        """For a short time: chunks are kept, none is pulled."""
        self._engine = ("starting", why)
        self._apply()

    def engine_down(self, why: str) -> None:
        """Nobody knows for how long."""
        self._engine = ("down", why)
        self._apply()

    def gpu_critical(self, why: str) -> None:
        self._gpu_why = why
        self._apply()

    def gpu_usable(self) -> None:
        self._gpu_why = None
        self._apply()

    def _apply(self) -> None:
        status, why = self._engine
        if self._gpu_why is not None:
            status, why = "down", self._gpu_why
        was_down, self.is_down = self.is_down, status == "down"
        if status == "ready":
            self.up.set()
        else:
            self.up.clear()
        self._presence.shows(status, why)
        if self.is_down and not was_down:
            self._let_go()
