"""One result as one row."""

from typing import Any, Final, TypeAlias

from batch_sinks.handler import BatchMetadata
from batch_sinks.results import Result
from batch_sinks.storable import storable, storable_json

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


def make_row(batch_id: str, result: Result, metadata: BatchMetadata) -> Row:
    """In the order of COLUMNS: `request` and `response` are the two bodies."""
    request, response = result["request"], result["response"]
    body = request["body"] if request else None
    return (
        batch_id,
        storable(result["custom_id"]),
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
    return None if value is None else storable_json(value).decode()
