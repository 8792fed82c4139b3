"""Repeated custom_ids, found by 64-bit hashes; only equal hashes are read again."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray


def repeated(hashes: NDArray[np.int64], read_id: Callable[[int], str | None]) -> NDArray[np.int64]:
    """Positions, rising, of ids that stand at an earlier position already.

    `read_id` gives the id at a position, or None where there is none: that repeats nothing.
    """
    ordered = np.sort(hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, np.int64)
    del ordered
    order = np.argsort(hashes, kind="stable")
    found: list[NDArray[np.int64]] = [
        np.fromiter(_repeats_in(run, read_id), np.int64) for run in _runs(hashes, order)
    ]
    return np.sort(np.concatenate(found))


def _runs(hashes: NDArray[np.int64], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions that share a hash, at least two in each."""
    ordered = hashes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(ordered)]
    several = ends - starts > 1
    return [order[a:b] for a, b in zip(starts[several], ends[several], strict=True)]


def _repeats_in(run: NDArray[np.int64], read_id: Callable[[int], str | None]) -> Iterator[int]:
    seen: set[str] = set()
    for position in run.tolist():
        custom_id = read_id(position)
        if custom_id is None:
            continue
        if custom_id in seen:
            yield position
        seen.add(custom_id)
