"""The ways in which the simulated server fails on purpose."""

import os
import re
import sys
from enum import Enum
from typing import NoReturn

from batch_gpu_runner.engines.sim.options import SimOptions

_CRASH = "RuntimeError: CUDA error: an illegal memory access was encountered (simulated)"
_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (simulated)"


class Fault(Enum):
    """What happens to a request."""

    CRASH = "crash"
    OOM = "oom"
    HANG = "hang"
    FAIL = "fail"


class Faults:
    """Decides by the request alone, but for `oom_above_tokens`."""

    def __init__(self, options: SimOptions) -> None:
        self._patterns = [
            (fault, re.compile(pattern))
            for fault, pattern in (
                (Fault.CRASH, options.crash_on),
                (Fault.OOM, options.oom_on),
                (Fault.HANG, options.hang_on),
            )
            if pattern is not None
        ]
        self._fail_below = int(options.fail_rate * 2**64)
        self._max_tokens = options.oom_above_tokens

    def strike(self, prompts: list[str], digest: bytes, tokens_in_flight: int) -> Fault | None:
        """What this request meets; `tokens_in_flight` counts its own."""
        for fault, pattern in self._patterns:
            if any(pattern.search(prompt) for prompt in prompts):
                return fault
        if self._max_tokens is not None and tokens_in_flight > self._max_tokens:
            return Fault.OOM
        # The low bytes of the digest choose the answer, so the high ones choose the failures.
        if self._fail_below and int.from_bytes(digest[::-1], "big") < self._fail_below:
            return Fault.FAIL
        return None


def die(fault: Fault) -> NoReturn:
    """Leave as an engine does: last words, then nothing is cleaned up."""
    sys.stderr.write((_OOM if fault is Fault.OOM else _CRASH) + "\n")
    sys.stderr.flush()
    os._exit(1)
