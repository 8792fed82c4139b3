"""Decoding what others wrote: strictly and fast, or else as forgivingly as Python can."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MAX_LEVELS: Final = 200
"""Far more than anybody needs, and far fewer than Python's stack has for those who walk them."""

_DECODE: Final = msgspec.json.Decoder().decode
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes({*range(256)} - {*b"[]{}"})
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def decode_line(data: bytes) -> dict[str, Any]:
    """A line that went through the system verbatim may hold half a surrogate pair, 1e400, or an
    integer of more digits than Python reads (4300), which becomes their text; as does what is
    nested deeper than MAX_LEVELS.
    """
    data = _shallow(data)
    try:
        decoded: dict[str, Any] = _DECODE(data)
    except msgspec.DecodeError:
        decoded = json.loads(data, parse_int=_integer)
    return decoded


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def is_shallow(data: bytes) -> bool:
    """Of JSON: False where it is nested deeper than MAX_LEVELS.

    As cheap as can be for the log probabilities of a long answer, which are all brackets.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_LEVELS:
        return True
    unquoted = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    brackets = b"".join(unquoted).translate(_ALIKE, _OTHERS)
    for _ in range(MAX_LEVELS):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")  # the innermost of each
    return not brackets


def _shallow(data: bytes) -> bytes:
    """The same line as a rule."""
    if is_shallow(data):
        return data
    pieces, done = list[bytes](), 0
    for start, end in _too_deep(data):
        text = json.dumps(data[start:end].decode("utf-8", "surrogatepass"))
        pieces += (data[done:start], text.encode())
        done = end
    return b"".join((*pieces, data[done:])) if pieces else data


def _too_deep(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each outermost value that is too deep starts and ends."""
    depth = start = 0
    for token in _TOKEN.finditer(data):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth == MAX_LEVELS + 1:
                start = token.start()
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == MAX_LEVELS:
                yield start, token.end()
