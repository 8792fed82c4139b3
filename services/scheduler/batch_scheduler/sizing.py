"""How many lines the next chunk takes. Pure."""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

# With several runners a chunk takes at most this share of what is left for each of them, so
# that they finish together; the last ones are not cut below some seconds of work.
_SHARES: Final = 2
_LEAST_S: Final = 5.0
_LEAST_REQUESTS: Final = 50


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From the configuration."""

    max_requests: int
    max_bytes: int
    target_s: float
    first_requests: int


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """`remaining`: lines of the model that are in no chunk yet, over all batches.

    requests_per_s: of all its runners together; None while unknown.
    """

    remaining: int
    runners: int
    requests_per_s: float | None


def wanted_lines(limits: Limits, demand: Demand) -> int:
    """Lines for one chunk, by count and time alone; at least 1."""
    runners = max(demand.runners, 1)
    if demand.requests_per_s is None:
        wanted, least = limits.first_requests, _LEAST_REQUESTS
    else:
        rate = demand.requests_per_s / runners
        wanted, least = math.ceil(rate * limits.target_s), math.ceil(rate * _LEAST_S)
    if runners > 1:
        share = math.ceil(demand.remaining / (runners * _SHARES))
        wanted = min(wanted, max(share, least))
    return max(1, min(wanted, limits.max_requests))


def chunk_end(lengths: NDArray[np.uint32], wanted: int, max_bytes: int) -> int:
    """How many of the lines of these lengths make the chunk: `wanted`, or fewer by their bytes.

    A line that is larger than `max_bytes` by itself makes a chunk of its own.
    """
    fitting = np.searchsorted(np.cumsum(lengths[:wanted], dtype=np.uint64), max_bytes, "right")
    return max(1, min(int(fitting), len(lengths)))
