"""How fast models work, from what was committed: known sooner than what runners announce."""

from collections.abc import Callable
from time import monotonic
from typing import Final

_WEIGHT: Final = 0.5


class Rates:
    """Requests per second of each model, over all its runners."""

    def __init__(self, time: Callable[[], float] = monotonic) -> None:
        self._time = time
        self._last: dict[str, float] = {}
        self._rates: dict[str, float] = {}

    def committed(self, model: str, requests: int, age_s: float) -> None:
        """A chunk was settled whose first claim may be `age_s` old.

        While chunks wait, the time since the one before is what this one took.
        """
        now = self._time()
        spent_s = min(now - self._last.get(model, float("-inf")), age_s)
        self._last[model] = now
        if spent_s <= 0:
            return
        fresh = requests / spent_s
        known = self._rates.get(model, fresh)
        self._rates[model] = known + _WEIGHT * (fresh - known)

    def of(self, model: str) -> float | None:
        """None until a first chunk was committed."""
        return self._rates.get(model)
