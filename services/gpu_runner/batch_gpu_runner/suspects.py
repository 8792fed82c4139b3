"""Which requests may have killed the engine.

When the engine dies, whatever was in flight is suspect, over all chunks. Suspects are tried again
in halves, apart from everything else: a group that the engine survives is acquitted, one that
kills it is halved, and a request that still kills it alone is convicted.
"""

from collections import deque

import msgspec

from batch_gpu_runner.chunk import Chunk, Request


class Suspects:
    """The groups still to be tried; the first is on trial."""

    def __init__(self, deaths: int) -> None:
        """`deaths`: so often the engine must have died under a request that is convicted."""
        self._deaths = deaths
        self._groups: deque[deque[Request]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    @property
    def on_trial(self) -> bool:
        """While this holds, nothing but `take()` may be sent."""
        return bool(self._groups)

    def engine_died(self, in_flight: list[Request]) -> Request | None:
        """Records what was in flight. Returns a request that is now convicted, else None.

        One that was alone is not convicted the first time: engines also die of other things.
        """
        died = [msgspec.structs.replace(each, deaths=each.deaths + 1) for each in in_flight]
        if len(died) == 1 and died[0].deaths >= self._deaths:
            return died[0]
        middle = (len(died) + 1) // 2
        for half in (died[middle:], died[:middle]):
            if half:
                self._groups.appendleft(deque(half))
        return None

    def take(self) -> Request | None:
        """The next of the group on trial; None when all of it is in flight."""
        return self._groups[0].popleft() if self._groups and self._groups[0] else None

    def survived(self) -> None:
        """Nothing is in flight: a group that has been sent wholly is acquitted."""
        while self._groups and not self._groups[0]:
            self._groups.popleft()

    def drop(self, chunk: Chunk) -> None:
        """Forgets a chunk's requests."""
        self._groups = deque(
            deque(each for each in group if each.chunk is not chunk) for group in self._groups
        )
