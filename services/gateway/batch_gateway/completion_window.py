"""Completion windows: `24h` as OpenAI has it, and others where the configuration allows them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from batch_common.errors import ConfigError
from batch_gateway.errors import ApiError

_WINDOW: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400}


def parse_windows(names: Sequence[str]) -> dict[str, int]:
    """Seconds by name. Raises ConfigError."""
    return {name: _seconds(name) for name in names}


def _seconds(name: str) -> int:
    match = _WINDOW.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"limits.completion_windows: {name!r} is not a time; write minutes, hours or days, "
            "like 30m, 24h or 7d"
        )
    return int(match[1]) * _SECONDS[match[2]]


def window_seconds(name: str, windows: Mapping[str, int]) -> int:
    """Raises ApiError (400) for a window that is not offered."""
    if name not in windows:
        listed = ", ".join(f"'{known}'" for known in windows)
        raise ApiError(
            400,
            f"Invalid 'completion_window': '{name}'. Supported values are: {listed}.",
            param="completion_window",
            code="invalid_value",
        )
    return windows[name]
