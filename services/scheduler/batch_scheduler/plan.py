"""The order in which lines run: by model, and lines that share a beginning side by side.

On a KV cache smaller than the working set that order is worth more than a factor of two.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from batch_common.formats.plan import RECORD
from batch_scheduler.columns import Columns

_BLOCK_LINES: Final = 1 << 16
_NAME_BYTES: Final = 16

Order = NDArray[np.uint32]
"""Positions of lines in the file, in planned order."""


class SpanPlan(msgspec.Struct, frozen=True):
    """Planned lines that share a model; bytes are positions in the planned input."""

    model: str
    first_line: int
    end_line: int
    first_byte: int
    end_byte: int
    tokens: int


def planned_order(columns: Columns, window_bytes: int) -> Order:
    """Within windows of at most `window_bytes` of the file, one after the other.

    What is read in another order than it was written should fit the page cache.
    """
    order = np.empty(len(columns), np.uint32)
    offsets = np.frombuffer(columns.offset, np.uint64)
    first = 0
    while first < len(order):
        limit = int(offsets[first]) + window_bytes
        end = max(int(np.searchsorted(offsets, limit)), first + 1)
        order[first:end] = _window_order(columns, first, end)
        first = end
    return order


def _window_order(columns: Columns, first: int, end: int) -> NDArray[np.int64]:
    """Groups stand in the order of their first line, and lines in a group in the file's."""
    levels = (columns.far, columns.near, columns.leading)
    keys = [_first_seen(np.frombuffer(level, np.uint32)[first:end]) for level in levels]
    model = np.frombuffer(columns.model, np.uint32)[first:end]
    return np.lexsort((*keys, model)) + first


def _first_seen(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each key the position at which it stands first."""
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    ordered = keys[order]
    heads = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[heads, len(keys)])
    first = np.empty(len(keys), np.uint32)
    first[order] = np.repeat(order[heads], sizes)
    return first


def write_plan(
    columns: Columns, models: list[str], window_bytes: int, plan: BinaryIO
) -> tuple[str, list[SpanPlan]]:
    """Writes the index and, after it, where each planned line starts in the spool.

    Returns the plan's name and its spans. The name derives from the index: with the same input,
    plans of one name are the same plan.
    """
    order = planned_order(columns, window_bytes)
    name = blake2b(digest_size=_NAME_BYTES)
    for block in _blocks(order):
        records = np.empty(len(block), RECORD)
        records["length"] = np.frombuffer(columns.length, np.uint32)[block]
        records["tokens"] = np.frombuffer(columns.tokens, np.uint32)[block]
        records["line"] = np.frombuffer(columns.number, np.uint32)[block]
        plan.write(records.tobytes())
        name.update(records.tobytes())
    for block in _blocks(order):
        plan.write(np.frombuffer(columns.offset, np.uint64)[block].tobytes())
    plan.flush()
    return name.hexdigest(), _spans(columns, models, order)


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
