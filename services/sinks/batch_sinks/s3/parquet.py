"""A batch's results as one Parquet file, made row group by row group while it is sent."""

import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from batch_sinks.answer import answer_text
from batch_sinks.handler import BatchMetadata
from batch_sinks.results import Result, Results
from batch_sinks.storable import storable, storable_json

# A row group is held in memory until it is whole: as rows, as columns, and compressed.
_GROUP_CHARS: Final = 4 << 20
_GROUP_ROWS: Final = 10_000

COLUMNS: Final = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("custom_id", pa.string(), nullable=False),
        pa.field("model", pa.string()),
        pa.field("status_code", pa.int32()),
        pa.field("answer", pa.string()),
        pa.field("answer_valid", pa.bool_()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("input_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("request", pa.string()),
        pa.field("response", pa.string()),
    ]
)
# The others hardly repeat, and a dictionary would be tried in vain.
_REPEATING: Final = ["batch_id", "model", "error_code"]


class ParquetStream:
    """`sha256`, `bytes` and `rows` are right once all pieces have been taken.

    The same results give the same bytes, as long as pyarrow stays the same.
    """

    def __init__(self, batch_id: str, results: Results, metadata: BatchMetadata) -> None:
        self._batch_id = batch_id
        self._results = results
        self._metadata = metadata
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.rows = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def pieces(self) -> AsyncIterator[bytes]:
        sink = _Sink()
        with pq.ParquetWriter(
            sink, COLUMNS, compression="zstd", use_dictionary=_REPEATING
        ) as writer:
            async for group in self._groups():
                writer.write_table(pa.Table.from_pylist(group, schema=COLUMNS))
                self.rows += len(group)
                yield self._counted(sink.taken())
        yield self._counted(sink.taken())

    def _counted(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.bytes += len(piece)
        return piece

    async def _groups(self) -> AsyncIterator[list[dict[str, Any]]]:
        group: list[dict[str, Any]] = []
        chars = 0
        async for window in self._results.windows():
            for result in window:
                group.append(make_row(self._batch_id, result, self._metadata))
                chars += sum(len(value) for value in group[-1].values() if isinstance(value, str))
                if chars >= _GROUP_CHARS or len(group) == _GROUP_ROWS:
                    yield group
                    group, chars = [], 0
        if group:
            yield group


def make_row(batch_id: str, result: Result, metadata: BatchMetadata) -> dict[str, Any]:
    """By column; `request` and `response` are the two bodies as JSON."""
    request, response = result["request"], result["response"]
    asked = request["body"] if request else None
    body = response["body"] if response else None
    error = result["error"] or _refusal(body) or {}
    tokens_in, tokens_out = _tokens(body)
    row = {
        "batch_id": batch_id,
        "custom_id": result["custom_id"],
        "model": asked.get("model") if asked else metadata["model"],
        "status_code": response["status_code"] if response else None,
        "answer": answer_text(body),
        "answer_valid": (result.get("schema") or {}).get("valid"),
        "error_code": _text(error.get("code")),
        "error_message": _text(error.get("message")),
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
    }
    return {name: storable(value) for name, value in row.items()} | {
        "request": _json(asked),
        "response": _json(body),
    }


def _refusal(body: Any) -> dict[str, Any] | None:
    """What an engine says of a request that it does not take."""
    said = body.get("error") if isinstance(body, dict) else None
    return said if isinstance(said, dict) else None


def _tokens(body: Any) -> tuple[int | None, int | None]:
    """As chat and completions name them, and as responses do."""
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return None, None
    return (
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _count(value: Any) -> int | None:
    """`True` is an int to Python, but no count."""
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def _text(value: Any) -> str | None:
    """Engines give codes as numbers, too."""
    return None if value is None else str(value)


def _json(value: Any) -> str | None:
    return None if value is None else storable_json(value).decode()


class _Sink(io.RawIOBase):
    """What the writer has written since it was last asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
