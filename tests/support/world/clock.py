"""A clock that stands still until a test moves it."""

import pytest

from batch_common import clock


class Clock:
    """Unix seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def forward(self, seconds: float) -> None:
        self.now += seconds


def install(patch: pytest.MonkeyPatch) -> Clock:
    """In place of the machine's, until `patch` is undone."""
    made = Clock()
    patch.setattr(clock, "now", lambda: made.now)
    return made
