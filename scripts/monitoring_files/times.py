"""How long rules look back and wait; tests shorten all of it at once."""

from typing import Final

_UNITS: Final = (("h", 3600), ("m", 60), ("s", 1))


class Times:
    """Seconds, divided by `quicker`, as PromQL writes them."""

    def __init__(self, quicker: float = 1.0, least_look_s: int = 1) -> None:
        """`least_look_s`: a range shorter than a few scrapes holds nothing."""
        self._quicker = quicker
        self._least_look_s = least_look_s

    def look(self, seconds: int) -> str:
        """A range to look back over."""
        return _duration(max(self._least_look_s, round(seconds / self._quicker)))

    def wait(self, seconds: int) -> str:
        """A time for which something must hold."""
        return _duration(max(1, round(seconds / self._quicker)))

    def number(self, seconds: int) -> str:
        """Seconds to compare with."""
        return f"{seconds / self._quicker:g}"


def _duration(seconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
