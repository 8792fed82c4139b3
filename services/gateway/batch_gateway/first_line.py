"""The shallow look at a batch file while it streams by: is its first line a JSON object?

Everything from the second line on is the scheduler's validation, as OpenAI does it.
"""

from codecs import BOM_UTF8
from typing import Final

import msgspec

# A longer first line is judged by its first byte.
_ENOUGH: Final = 64 << 10
_BLANK: Final = b" \t\r\n"


class FirstLine:
    """Feed it the bytes in order, then ask `acceptable()`."""

    def __init__(self) -> None:
        self._head = b""
        self._verdict: bool | None = None
        self._begun = False

    def feed(self, piece: bytes) -> None:
        if self._verdict is not None or not piece:
            return
        self._begun = True
        head = self._head + piece[:_ENOUGH]
        self._head = head.removeprefix(BOM_UTF8).lstrip(_BLANK)
        line, newline, _ = self._head.partition(b"\n")
        if newline:
            self._verdict = _is_object(line)
        elif len(self._head) >= _ENOUGH:
            self._verdict = self._head.startswith(b"{")

    def acceptable(self) -> bool:
        """False for no bytes at all and for a malformed line; blank lines alone may pass."""
        if self._verdict is not None:
            return self._verdict
        return self._begun and (not self._head or _is_object(self._head))


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
