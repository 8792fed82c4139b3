"""How long rules look back and wait; tests shorten all of it at once."""

from typing import Final

_UNITS: Final = (("h", 3600), ("m", 60), ("s", 1))


class Times:
    """Seconds as PromQL writes them, divided by `quicker`; no duration gets below `least_s`."""

    def __init__(self, quicker: float = 1.0, least_s: int = 1) -> None:
        self._quicker = quicker
        self._least_s = least_s

    def span(self, seconds: int) -> str:
        """A duration: of a range, or of `for`."""
        short = max(self._least_s, round(seconds / self._quicker))
        unit, size = next((unit, size) for unit, size in _UNITS if short % size == 0)
        return f"{short // size}{unit}"

    def number(self, seconds: int) -> str:
        """Seconds to compare with."""
        return f"{seconds / self._quicker:g}"
