"""Identifiers that sort by the time they were made."""

import os
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32, lower case
_lock = threading.Lock()
_last = 0


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _next_value() -> int:
    """48 bits of milliseconds, then 80 random bits; rising within one process."""
    global _last  # noqa: PLW0603 - one counter per process keeps ids of one millisecond in order
    fresh = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    with _lock:
        _last = max(fresh, _last + 1)
        return _last


def new_id(prefix: str) -> str:
    """`prefix` followed by 26 characters: `new_id("batch_")` → `batch_01k…`.

    Ids with one prefix sort by creation time, to the millisecond between processes and
    exactly within one, so that lists page by id.
    """
    return prefix + _encode(_next_value(), 26)
