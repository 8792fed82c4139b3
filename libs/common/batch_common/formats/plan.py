"""The index of a planned input: one fixed-size record for each line, in planned order.

Little-endian, 12 bytes: the line's length in bytes with its newline, its token estimate, and
the number it had in the file the user handed in, counted from 1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RECORD: Final = np.dtype([("length", "<u4"), ("tokens", "<u4"), ("line", "<u4")])
RECORD_BYTES: Final = RECORD.itemsize

Index = NDArray[np.void]


def record_range(first_line: int, end_line: int) -> tuple[int, int]:
    """Byte range of the records of the planned lines `first_line` to `end_line` (exclusive)."""
    return first_line * RECORD_BYTES, end_line * RECORD_BYTES


def read_index(data: bytes) -> Index:
    """Records as a structured array with the fields `length`, `tokens` and `line`."""
    return np.frombuffer(data, dtype=RECORD)
