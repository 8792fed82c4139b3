"""How fast a batch goes and how long it will take, from what was seen of it."""

from collections import deque
from typing import Final

import msgspec

_WINDOW_S: Final = 30.0


class Rate(msgspec.Struct, frozen=True):
    """Per second, over the last half minute. left_s: None while nothing can be said."""

    requests: float = 0.0
    tokens: float = 0.0
    left_s: float | None = None


class _Sample(msgspec.Struct, frozen=True):
    at: float
    done: int
    tokens: int


class Meter:
    """Fed with what is done; times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def seen(self, at: float, *, done: int, tokens: int, total: int) -> Rate:
        """The rate now. `done` never falls for long: a chunk that starts anew may lower it."""
        self._samples.append(_Sample(at, done, tokens))
        while len(self._samples) > 2 and self._samples[1].at <= at - _WINDOW_S:
            self._samples.popleft()
        first = self._samples[0]
        if at <= first.at:
            return Rate()
        requests = max(0, done - first.done) / (at - first.at)
        written = max(0, tokens - first.tokens) / (at - first.at)
        return Rate(requests, written, (total - done) / requests if requests else None)


def duration(seconds: float | None) -> str:
    """`1:02:03`, `2:03`; a dash for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
