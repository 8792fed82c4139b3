"""How fast a batch goes and how long it will take, from what was seen of it."""

from collections import deque
from statistics import median
from typing import Final

import msgspec

_WINDOW_S: Final = 30.0
# A batch stands still when nothing is new for longer than this, and for longer than is usual of it.
_STILL_S: Final = 10.0
_UNUSUAL: Final = 3
_PAUSES: Final = 9


class Rate(msgspec.Struct, frozen=True):
    """Per second, over the last half minute.

    left_s: None while nothing can be said
    still_s: the batch stands still, for so long; None while it moves
    """

    requests: float = 0.0
    tokens: float = 0.0
    left_s: float | None = None
    still_s: float | None = None


class _Sample(msgspec.Struct, frozen=True):
    at: float
    done: int
    tokens: int


class Meter:
    """Fed with what is done; times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._moved_at: float | None = None
        self._pauses: deque[float] = deque(maxlen=_PAUSES)

    def seen(self, at: float, *, done: int, tokens: int, total: int) -> Rate:
        """The rate now. `done` never falls for long: a chunk that starts anew may lower it."""
        sample = _Sample(at, done, tokens)
        still_s = self._note_moves(sample)
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at <= at - _WINDOW_S:
            self._samples.popleft()
        if still_s > self._patience_s:
            return Rate(still_s=still_s)
        first = self._samples[0]
        if at <= first.at:
            return Rate()
        requests = max(0, done - first.done) / (at - first.at)
        written = max(0, tokens - first.tokens) / (at - first.at)
        return Rate(requests, written, (total - done) / requests if requests else None)

    def _note_moves(self, sample: _Sample) -> float:
        """Seconds since anything was new. What was seen before it stood still is forgotten."""
        last = self._samples[-1] if self._samples else None
        if self._moved_at is None:
            self._moved_at = sample.at
        elif last and (sample.done > last.done or sample.tokens > last.tokens):
            pause_s = sample.at - self._moved_at
            if pause_s > self._patience_s:
                self._samples.clear()
            self._pauses.append(pause_s)
            self._moved_at = sample.at
        return sample.at - self._moved_at

    @property
    def _patience_s(self) -> float:
        return max(_STILL_S, _UNUSUAL * median(self._pauses)) if self._pauses else _STILL_S


def pace(rate: Rate) -> list[str]:
    """What a person is told of it: nothing, while there is nothing to tell."""
    if rate.still_s is not None:
        return [f"nothing new for {duration(rate.still_s)}"]
    words = []
    if rate.requests >= 0.1:
        words.append(f"{rate.requests:.1f} requests/s")
    elif rate.requests:
        words.append(f"{rate.requests * 60:.1f} requests/min")
    if rate.tokens:
        words.append(f"{rate.tokens:.0f} tokens/s")
    if rate.left_s is not None:
        words.append(f"{duration(rate.left_s)} left")
    return words


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
