"""The wall clock, in one place so that tests can step it.

Services with a database go by its clock (batch_common.database_clock), so that all of them agree
on when a claim or a batch's window ends, and one machine's wrong clock changes nothing.
"""

import time
from typing import Final

# Goes on while the machine sleeps, where the system has such a clock.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Below this two readings of one clock differ anyway.
_TOLERANCE_S: Final = 0.2

# Unix seconds at the steady clock's zero, once somebody has said; None: go by this machine.
_zero: float | None = None


def now() -> float:
    """Unix seconds."""
    return wall() if _zero is None else _zero + steady()


def timestamp() -> int:
    """Unix seconds as OpenAI's objects carry them."""
    return int(now())


def wall() -> float:
    """What this machine believes, in Unix seconds."""
    return time.time()


def steady() -> float:
    """Seconds that nobody sets."""
    return time.clock_gettime(_STEADY)


def set_by(unix_s: float, at: float) -> float:
    """It was `unix_s` when the steady clock said `at`. Returns by how much `now` has moved."""
    global _zero  # noqa: PLW0603 - one clock for the process
    zero = unix_s - at
    moved = zero - (wall() - steady() if _zero is None else _zero)
    if _zero is None or abs(moved) > _TOLERANCE_S:
        _zero = zero
        return moved
    return 0.0


def unset() -> None:
    """By this machine again."""
    global _zero  # noqa: PLW0603 - one clock for the process
    _zero = None
