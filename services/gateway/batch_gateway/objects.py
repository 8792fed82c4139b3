"""OpenAI's objects. Every field is always there, with an explicit null for "none"."""

from typing import Any, Literal

import msgspec

THIRTY_DAYS_S = 2_592_000


class File(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["upload"] = "upload"
    # As declared when it was created.
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: File | None = None


class UploadPart(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class RequestCounts(msgspec.Struct, frozen=True):
    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class BatchUsage(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchError(msgspec.Struct, frozen=True):
    code: str
    message: str
    param: str | None = None
    # Counted from 1; null for what concerns the whole file.
    line: int | None = None


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[BatchError]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    # Null until requests run.
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Model(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Model]


class GpuHealth(msgspec.Struct, frozen=True, kw_only=True):
    # The driver's number.
    index: int
    name: str
    # degraded: gets fewer requests at a time. critical: its runner takes none.
    health: Literal["healthy", "degraded", "critical"]
    # Why it is not healthy; null: it is.
    reason: str | None = None
    temperature_c: int | None = None


class RunnerHealth(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    engine: str
    status: str
    # Why it is not ready; null: it is, or has nothing to say.
    reason: str | None = None
    models: list[str]
    in_flight: int
    # Those it watches.
    gpus: list[GpuHealth] = []


class ModelHealth(msgspec.Struct, frozen=True):
    # Ready ones only.
    runners: int


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok", "unavailable"]
    # database, nats, blobs: "ok" or what is wrong.
    checks: dict[str, str]
    models: dict[str, ModelHealth]
    runners: list[RunnerHealth]


def page_ends(data: list[Any]) -> tuple[str | None, str | None]:
    """first_id and last_id of a list page; nulls for an empty one."""
    return (data[0].id, data[-1].id) if data else (None, None)
