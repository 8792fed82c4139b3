"""The completion window that a batch asks for."""

from collections.abc import Mapping

from batch_gateway.errors import ApiError


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
