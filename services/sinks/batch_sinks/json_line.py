"""Decoding what others wrote: strictly and fast, or else as forgivingly as Python can."""

import json
from typing import Any, Final

import msgspec

_DECODE: Final = msgspec.json.Decoder().decode


def decode_line(data: bytes) -> dict[str, Any]:
    """A line that went through the system verbatim may hold half a surrogate pair, or 1e400."""
    try:
        decoded: dict[str, Any] = _DECODE(data)
    except msgspec.DecodeError:
        decoded = json.loads(data)
    return decoded
