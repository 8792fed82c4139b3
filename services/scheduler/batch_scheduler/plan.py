"""The order in which lines run: by model, and lines that share a beginning side by side.

On a KV cache smaller than the working set that order is worth more than a factor of two.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from batch_common.formats.plan import RECORD
from batch_scheduler.columns import Columns

_BLOCK_LINES: Final = 1 << 16

Order = NDArray[np.int64]


class SpanPlan(msgspec.Struct, frozen=True):
    """Planned lines that share a model; bytes are positions in the planned input."""

    model: str
    first_line: int
    end_line: int
    first_byte: int
    end_byte: int
    tokens: int


def ordered(columns: Columns, window_bytes: int) -> Iterator[Order]:
    """Positions of lines in planned order, for each window of the file after the other.

    A window holds lines of at most `window_bytes`: what is read in another order than it was
    written should fit the page cache.
    """
    offsets = np.frombuffer(columns.offset, np.uint64)
    first = 0
    while first < len(offsets):
        limit = int(offsets[first]) + window_bytes
        end = max(int(np.searchsorted(offsets, limit)), first + 1)
        yield _order(columns, first, end)
        first = end


def _order(columns: Columns, first: int, end: int) -> Order:
    """Groups stand in the order of their first line, and lines in a group in the file's."""
    keys = [_first_seen(np.frombuffer(key, np.uint32)[first:end]) for key in columns.keys]
    model = np.frombuffer(columns.model, np.uint32)[first:end]
    return np.lexsort((*reversed(keys), model)) + first


def _first_seen(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each key the position at which it stands first."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first.astype(np.uint32)[group]


def write_plan(
    columns: Columns, models: list[str], window_bytes: int, plan: BinaryIO
) -> list[SpanPlan]:
    """Writes the index and, after it, where each planned line starts in the spool."""
    order = np.concatenate(list(ordered(columns, window_bytes)))
    for block in _blocks(order):
        records = np.empty(len(block), RECORD)
        records["length"] = np.frombuffer(columns.length, np.uint32)[block]
        records["tokens"] = np.frombuffer(columns.tokens, np.uint32)[block]
        records["line"] = np.frombuffer(columns.number, np.uint32)[block]
        plan.write(records.tobytes())
    for block in _blocks(order):
        plan.write(np.frombuffer(columns.offset, np.uint64)[block].tobytes())
    plan.flush()
    return _spans(columns, models, order)


def _blocks(order: Order) -> Iterator[Order]:
    for start in range(0, len(order), _BLOCK_LINES):
        yield order[start : start + _BLOCK_LINES]


def _spans(columns: Columns, models: list[str], order: Order) -> list[SpanPlan]:
    model = np.frombuffer(columns.model, np.uint32)[order]
    starts = np.flatnonzero(np.r_[True, model[1:] != model[:-1]])
    lengths = np.frombuffer(columns.length, np.uint32)[order]
    tokens = np.frombuffer(columns.tokens, np.uint32)[order]
    spans: list[SpanPlan] = []
    byte = 0
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        size = int(lengths[first:end].sum(dtype=np.uint64))
        spend = int(tokens[first:end].sum(dtype=np.uint64))
        spans.append(SpanPlan(models[model[first]], first, end, byte, byte + size, spend))
        byte += size
    return spans
