"""One result as one row."""

import hashlib
import re
from typing import Any, Final, TypeAlias

from batch_sinks.handler import BatchMetadata
from batch_sinks.results import Result
from batch_sinks.storable import storable, storable_json

Row: TypeAlias = tuple[Any, ...]

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


# A key's column must fit into a page of an index with room for others.
_MAX_KEY_CHARS: Final = 500
_MARKED: Final = re.compile(r"[\ufffd…].*#[0-9a-f]{32}\Z", re.DOTALL)


def make_row(batch_id: str, result: Result, metadata: BatchMetadata) -> Row:
    """In the order of COLUMNS: `request` and `response` are the two bodies."""
    request, response = result["request"], result["response"]
    body = request["body"] if request else None
    return (
        batch_id,
        key_of(result["custom_id"]),
        metadata["tenant"],
        body.get("model") if body else metadata["model"],
        response["status_code"] if response else None,
        _json(body),
        _json(response["body"] if response else None),
        _json(result["error"]),
    )


def key_of(custom_id: str) -> str:
    """The custom_id itself, wherever Postgres can have it as a key.

    What it cannot store is replaced, what is too long is cut, and then a digest of the whole
    follows. Two custom_ids never become one: what looks like such a key gets a digest, too.
    """
    clean = storable(custom_id)
    if len(clean) > _MAX_KEY_CHARS:
        clean = f"{clean[:_MAX_KEY_CHARS]}…"
    if clean == custom_id and not _MARKED.search(custom_id):
        return custom_id
    digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{clean}#{digest[:32]}"


def size_of(row: Row) -> int:
    """In characters, of what can be long."""
    return sum(len(value) for value in row if isinstance(value, str))


def _json(value: Any) -> str | None:
    return None if value is None else storable_json(value).decode()
