"""Text that databases refuse, made acceptable to them."""

import re
from typing import Any, Final

import msgspec

# Postgres stores neither, in text or in jsonb, and models do write them now and then.
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_ENCODE: Final = msgspec.json.Encoder().encode


def storable(value: Any) -> Any:
    """The same JSON with U+FFFD for each NUL and each half of a surrogate pair."""
    top = [value]
    copies: list[Any] = [top]
    # A list of what is left, not calls within calls: Python's stack ends at a few hundred levels.
    while copies:
        copy = copies.pop()
        for place, item in copy.items() if isinstance(copy, dict) else enumerate(copy):
            if isinstance(item, str):
                copy[place] = _text(item)
            elif isinstance(item, dict | list):
                copy[place] = _copied(item)
                copies.append(copy[place])
    return top[0]


def _copied(value: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    """With keys that can be stored; what is in it is still to be copied."""
    if isinstance(value, list):
        return value.copy()
    return {_text(key): item for key, item in value.items()}


def _text(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def storable_json(value: Any) -> bytes:
    """Encoded; what holds nothing of that kind is not copied for it."""
    try:
        data = _ENCODE(value)
    except UnicodeEncodeError:
        return _ENCODE(storable(value))
    return _ENCODE(storable(value)) if b"\\u0000" in data else data
