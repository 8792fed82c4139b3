"""Completion windows: `24h` as OpenAI has it, and others where the configuration allows them."""

import re
from collections.abc import Sequence
from typing import Final

_WINDOW: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400}


def parse_windows(names: Sequence[str]) -> dict[str, int]:
    """Seconds by name. Raises ValueError for what is no time, or where there is none."""
    if not names:
        raise ValueError(
            "limits.completion_windows is empty, so no batch could be created: name at least one, "
            "like 24h"
        )
    return {name: _seconds(name) for name in names}


def _seconds(name: str) -> int:
    match = _WINDOW.fullmatch(name)
    if match is None:
        raise ValueError(
            f"limits.completion_windows: {name!r} is not a time; write minutes, hours or days, "
            "like 30m, 24h or 7d"
        )
    return int(match[1]) * _SECONDS[match[2]]
