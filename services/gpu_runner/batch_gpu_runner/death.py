"""How an engine ended, read from what is known of its end."""

import re
from enum import Enum
from typing import Final

import msgspec

from batch_common.formats.result import LineError

_WORDS: Final = 500
# torch (CUDA, ROCm), the CUDA driver and its libraries, C++, llama.cpp, Python.
_OUT_OF_MEMORY: Final = re.compile(
    r"out ?of ?memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|_ALLOC_FAILED"
    r"|std::bad_alloc|failed to allocate|\bMemoryError\b",
    re.IGNORECASE,
)
# An administrator's signals, or the kernel's when the machine runs out of memory: engines do not
# send these to themselves.
_FROM_OUTSIDE: Final = re.compile(r"killed by SIG(KILL|TERM|INT|HUP)|guard process was killed")


class Cause(Enum):
    """What it ended of; the value is the error code of a request that did it."""

    CRASH = "engine_crashed"
    OUT_OF_MEMORY = "engine_out_of_memory"
    HANG = "engine_hung"


_DOES: Final = {
    Cause.CRASH: "died",
    Cause.OUT_OF_MEMORY: "ran out of memory",
    Cause.HANG: "stopped answering",
}


class Death(msgspec.Struct, frozen=True):
    """The end of one life of the engine.

    why: in the engine's own last words, as far as it had any
    maybe_outside: perhaps somebody else killed it
    """

    why: str
    cause: Cause
    maybe_outside: bool = False

    def of_request(self) -> LineError:
        """The error of a request that brings this about whenever it runs alone."""
        does = _DOES[self.cause]
        return LineError(
            self.cause.value, f"the engine {does} whenever it ran this request: {self.why[:_WORDS]}"
        )


def read_death(why: str) -> Death:
    """`why`: as `Engine.died` returns it."""
    cause = Cause.OUT_OF_MEMORY if is_out_of_memory(why) else Cause.CRASH
    return Death(why, cause, maybe_outside=_FROM_OUTSIDE.search(why) is not None)


def is_out_of_memory(words: str) -> bool:
    """Whether an engine's last words say that memory was the matter."""
    return _OUT_OF_MEMORY.search(words) is not None
