"""Xids, the driver's error reports: what each means for a runner.

After NVIDIA's catalogue (docs.nvidia.com/deploy/xid-errors: the immediate action for each) and its
GPU debug guidelines; which are an application's own fault is also what NVIDIA's Kubernetes device
plug-in goes by.
"""

from collections.abc import Collection
from enum import Enum
from typing import Final


class Kind(Enum):
    """FATAL: the GPU needs a reset, a reboot or a repair; nothing it computes can be trusted.

    SUSPECT: it works on, and somebody should look. APPLICATION: a program's fault; the engine dies
    of it, or of nothing.
    """

    FATAL = "fatal"
    SUSPECT = "suspect"
    APPLICATION = "application"


FATAL: Final[dict[int, str]] = {
    46: "the GPU stopped processing",
    48: "uncorrectable memory error (double bit ECC)",
    61: "internal microcontroller breakpoint",
    62: "internal microcontroller halted",
    64: "a bad memory row could not be recorded for replacement",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    95: "uncontained memory error",
    119: "the GPU's system processor does not answer (GSP timeout)",
    120: "the GPU's system processor failed (GSP error)",
    140: "unrecovered memory error",
    143: "the GPU could not be initialised",
}
SUSPECT: Final[dict[int, str]] = {
    54: "auxiliary power is not connected",
    63: "a bad memory row is to be replaced at the next reset",
    92: "high rate of corrected memory errors",
    94: "contained memory error; the program it hit must be started again",
}
APPLICATION: Final[dict[int, str]] = {
    8: "a program's work did not end",
    13: "graphics engine exception",
    31: "memory page fault",
    32: "corrupted push buffer",
    37: "driver firmware error",
    43: "a program's work was stopped",
    45: "a program's work was cleaned up",
    68: "video processor exception",
    69: "graphics engine class error",
    109: "context switch timeout",
}


def kind_of(number: int, *, fatal: Collection[int] = (), ignored: Collection[int] = ()) -> Kind:
    """Those of the configuration go before the catalogue. An unknown one is suspect."""
    if number in ignored:
        return Kind.APPLICATION
    if number in fatal or number in FATAL:
        return Kind.FATAL
    return Kind.APPLICATION if number in APPLICATION else Kind.SUSPECT


def meaning(number: int) -> str:
    """In words, with the number."""
    words = FATAL.get(number) or SUSPECT.get(number) or APPLICATION.get(number)
    return f"Xid {number}: {words or 'unknown to this release'}"
