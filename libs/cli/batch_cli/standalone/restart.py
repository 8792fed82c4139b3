"""What follows when a process ends that nobody stopped."""

from typing import Final

import msgspec

from batch_common.service import EXIT_CONFIG

FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 30.0
# A life longer than this was no failed start.
LONG_LIFE_S: Final = 60.0
_MAX_KILLS_AT_START: Final = 3


class Again(msgspec.Struct, frozen=True):
    """Start it again after `delay_s` seconds."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """It would end in the same way again."""


def after_exit(code: int, *, serving: bool, short_lives: int) -> Again | GiveUp:
    """serving: the system was ready before; short_lives: lives in a row below LONG_LIFE_S, this
    one included. `code` is negative for a signal, which may hit anybody (the out-of-memory killer).
    """
    if code == EXIT_CONFIG:
        return GiveUp()
    if not serving and (code >= 0 or short_lives > _MAX_KILLS_AT_START):
        return GiveUp()
    return Again(min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** max(0, short_lives - 1)))
