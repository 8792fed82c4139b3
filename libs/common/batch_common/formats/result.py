"""Result lines: one envelope for the output and the error file, all four keys always there."""

from typing import Final

import msgspec


class LineError(msgspec.Struct, frozen=True):
    """Why a request has no HTTP answer; `code` is one of LINE_ERRORS or the engine's."""

    code: str
    message: str


class Response(msgspec.Struct, frozen=True):
    status_code: int
    request_id: str
    body: msgspec.Raw


class ResultLine(msgspec.Struct, frozen=True):
    id: str
    custom_id: str
    response: Response | None
    error: LineError | None


BATCH_EXPIRED: Final = LineError(
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
BATCH_CANCELLED: Final = LineError(
    "batch_cancelled", "This request was not executed because the batch was cancelled."
)

_ENCODER: Final = msgspec.json.Encoder()


def result_id(batch_id: str, line: int) -> str:
    """The same in every attempt: `line` is the number in the user's file, counted from 1."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


def result_line(identifier: str) -> int:
    """The `line` that `result_id` was given. Raises ValueError for what it has not made."""
    return int(identifier.rpartition("_")[2])


def encode_result(result: ResultLine) -> bytes:
    """JSON without a newline. `response.body` must be valid JSON on one line."""
    return _ENCODER.encode(result)
