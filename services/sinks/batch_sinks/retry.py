"""What follows an attempt: pure, so that rules are read and tested without a clock."""

from typing import Final

import msgspec

_FIRST_S: Final = 1.0
LONGEST_PAUSE_S: Final = 3600.0
# A delay is between half and the whole of its step, so that many deliveries spread out.
_JITTER: Final = 0.5


class Retry(msgspec.Struct, frozen=True):
    """Try again after the delay, in seconds."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """The time for tries is over."""


def after_failure(
    *, attempt: int, age_s: float, retry_for_s: float, jitter: float
) -> Retry | GiveUp:
    """Attempts count from 1, and `age_s` from the batch's end, or both from the latest redrive;
    `jitter` is in [0, 1).

    The last try is at the end of `retry_for_s`, not a step before it.
    """
    left_s = retry_for_s - age_s
    if left_s <= 0:
        return GiveUp()
    step_s = min(LONGEST_PAUSE_S, _FIRST_S * 2.0 ** min(attempt - 1, 32))
    return Retry(min(step_s * (1.0 - _JITTER * jitter), left_s))
