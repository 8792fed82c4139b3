"""Text that databases refuse, made acceptable to them."""

import re
from typing import Any, Final

import msgspec

# Postgres stores neither, in text or in jsonb, and models do write them now and then.
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_ENCODE: Final = msgspec.json.Encoder().encode


def storable(value: Any) -> Any:
    """The same JSON with U+FFFD for each NUL and each half of a surrogate pair."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
    return value


def storable_json(value: Any) -> bytes:
    """Encoded; what holds nothing of that kind is not copied for it."""
    try:
        data = _ENCODE(value)
    except UnicodeEncodeError:
        return _ENCODE(storable(value))
    return _ENCODE(storable(value)) if b"\\u0000" in data else data
