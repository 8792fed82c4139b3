"""One result as one row."""

import re
from typing import Any, Final, TypeAlias

import msgspec

from batch_sinks.handler import BatchMetadata
from batch_sinks.results import Result

Row: TypeAlias = tuple[str, str, str, str | None, int | None, str | None, str | None, str | None]

COLUMNS: Final[dict[str, str]] = {
    "batch_id": "text NOT NULL",
    "custom_id": "text NOT NULL",
    "tenant": "text NOT NULL",
    "model": "text",
    "status_code": "integer",
    "request": "jsonb",
    "response": "jsonb",
    "error": "jsonb",
}
KEY: Final = ("batch_id", "custom_id")

# Postgres stores neither, in text or in jsonb, and models do write them now and then.
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_ENCODE: Final = msgspec.json.Encoder().encode


def make_row(batch_id: str, result: Result, metadata: BatchMetadata) -> Row:
    """In the order of COLUMNS: `request` and `response` are the two bodies."""
    request, response = result["request"], result["response"]
    body = request["body"] if request else None
    return (
        batch_id,
        _storable(result["custom_id"]),
        metadata["tenant"],
        body.get("model") if body else metadata["model"],
        response["status_code"] if response else None,
        _json(body),
        _json(response["body"] if response else None),
        _json(result["error"]),
    )


def size_of(row: Row) -> int:
    """In characters, of what can be long."""
    return sum(len(value) for value in row if isinstance(value, str))


def _json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        text = _ENCODE(value).decode()
    except UnicodeEncodeError:
        return _ENCODE(_storable(value)).decode()
    return _ENCODE(_storable(value)).decode() if "\\u0000" in text else text


def _storable(value: Any) -> Any:
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list():
            return [_storable(item) for item in value]
    return value
