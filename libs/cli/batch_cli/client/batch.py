"""The Batch object as a server sends it, as far as we show it."""

import time
from typing import Any, Final

import msgspec

from batch_cli.client.api import NOT_OURS
from batch_cli.client.errors import NotOursError

FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_MAX_ERRORS: Final = 10


class Counts(msgspec.Struct, frozen=True):
    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.completed + self.failed


class Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class LineError(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | None = None
    param: str | None = None
    line: int | None = None


class Errors(msgspec.Struct, frozen=True):
    data: tuple[LineError, ...] = ()


class Batch(msgspec.Struct, frozen=True):
    """Times are Unix seconds; None: not (yet)."""

    id: str
    status: str
    endpoint: str = ""
    input_file_id: str = ""
    completion_window: str = ""
    created_at: int = 0
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    expires_at: int | None = None
    request_counts: Counts | None = None
    usage: Usage | None = None
    errors: Errors | None = None
    metadata: dict[str, str] | None = None

    @property
    def counts(self) -> Counts:
        return self.request_counts or Counts()

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def read_batch(content: Any) -> Batch:
    """From decoded JSON; fields that we do not know are ignored. Raises NotOursError."""
    try:
        return msgspec.convert(content, Batch)
    except msgspec.ValidationError as error:
        raise NotOursError(NOT_OURS) from error


def error_lines(batch: Batch) -> list[str]:
    """Why validation failed, the first lines of it."""
    errors = batch.errors.data if batch.errors else ()
    lines = [_error_line(error) for error in errors[:_MAX_ERRORS]]
    if len(errors) > _MAX_ERRORS:
        lines.append(f"… and {len(errors) - _MAX_ERRORS} more: vllm-batch show {batch.id} --json")
    return lines


def describe(batch: Batch) -> list[tuple[str, str]]:
    """What `show` prints: label and value, without what there is not."""
    counts = batch.counts
    pairs = [
        ("batch", batch.id),
        ("status", batch.status),
        ("requests", f"{counts.total} ({counts.completed} completed, {counts.failed} failed)"),
        ("model", batch.model or ""),
        ("endpoint", batch.endpoint),
        ("input", batch.input_file_id),
        ("output", batch.output_file_id or ""),
        ("errors", batch.error_file_id or ""),
        ("tokens", _tokens(batch.usage)),
        ("created", clock(batch.created_at)),
        ("started", clock(batch.in_progress_at)),
        ("ended", clock(_ended_at(batch))),
        ("expires", "" if batch.is_final else clock(batch.expires_at)),
    ]
    pairs += [(f"metadata.{key}", value) for key, value in (batch.metadata or {}).items()]
    return [(label, value) for label, value in pairs if value]


def clock(unix_s: int | None) -> str:
    """Local time; empty for None."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s)) if unix_s else ""


def _ended_at(batch: Batch) -> int | None:
    return batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at


def _tokens(usage: Usage | None) -> str:
    return f"{usage.input_tokens} in, {usage.output_tokens} out" if usage else ""


def _error_line(error: LineError) -> str:
    where = f"line {error.line}: " if error.line is not None else ""
    param = f" ({error.param})" if error.param else ""
    return f"{where}{error.message}{param}"
