"""What `POST /v1/batches` asks for."""

from collections.abc import Mapping
from typing import Final

import msgspec

from batch_gateway.completion_window import window_seconds
from batch_gateway.errors import ApiError
from batch_gateway.expiry import parse_expiry
from batch_gateway.metadata import parse_metadata
from batch_gateway.parameters import Body

ENDPOINTS: Final = ("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions")


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    window_s: int
    metadata: dict[str, str] | None
    output_expires_after_s: int | None
    # The id of its row; null: none, or not looked up yet.
    task_schema: str | None = None


def parse_batch_request(raw: bytes, windows: Mapping[str, int]) -> BatchRequest:
    """Raises ApiError (400). The input file is the scheduler's to look at: an unknown one fails
    the batch later, as OpenAI does it. Unknown keys are ignored.
    """
    body = Body(raw)
    input_file_id = body.text("input_file_id")
    endpoint = _endpoint(body.text("endpoint"))
    window = body.text("completion_window")
    return BatchRequest(
        input_file_id=input_file_id,
        endpoint=endpoint,
        completion_window=window,
        window_s=window_seconds(window, windows),
        metadata=parse_metadata(body.optional("metadata")),
        output_expires_after_s=parse_expiry(
            body.optional("output_expires_after"), "output_expires_after"
        ),
    )


def _endpoint(endpoint: str) -> str:
    if endpoint not in ENDPOINTS:
        listed = ", ".join(f"'{known}'" for known in ENDPOINTS)
        raise ApiError(
            400,
            f"Invalid value: '{endpoint}'. Supported values are: {listed}.",
            param="endpoint",
            code="invalid_value",
        )
    return endpoint
