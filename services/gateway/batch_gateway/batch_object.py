"""From a row of `batches` to OpenAI's batch object."""

from typing import Any, Final

import msgspec
from sqlalchemy import Row

from batch_common.state import BatchStatus
from batch_gateway.objects import (
    Batch,
    BatchError,
    BatchErrors,
    BatchUsage,
    InputTokensDetails,
    OutputTokensDetails,
    RequestCounts,
)

# Of a batch in a list.
SHOWN_ERRORS: Final = 10
# The row's own counts lag while chunks run; with these statuses their sum is shown.
RUNNING = frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.CANCELLING})


def to_batch(row: Row[Any], progress: tuple[int, int] | None) -> Batch:
    """`progress`: completed and failed summed over the chunks; None: the row's own hold."""
    completed, failed = (row.completed, row.failed) if progress is None else progress
    return Batch(
        id=row.id,
        endpoint=row.endpoint,
        model=row.model,
        errors=_errors(row.errors),
        input_file_id=row.input_file_id,
        completion_window=row.completion_window,
        status=row.status,
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
        created_at=row.created_at,
        in_progress_at=row.in_progress_at,
        expires_at=row.expires_at,
        finalizing_at=row.finalizing_at,
        completed_at=row.completed_at,
        failed_at=row.failed_at,
        expired_at=row.expired_at,
        cancelling_at=row.cancelling_at,
        cancelled_at=row.cancelled_at,
        request_counts=RequestCounts(row.total, completed, failed),
        usage=_usage(row),
        metadata=row.metadata,
    )


def shorten(batch: Batch) -> Batch:
    """As it stands in a list: whoever wants all errors retrieves the batch."""
    if batch.errors is None or len(batch.errors.data) <= SHOWN_ERRORS:
        return batch
    more = BatchError(
        "more_errors",
        f"A list shows the first {SHOWN_ERRORS} errors of a batch; retrieve the batch for all.",
    )
    few = BatchErrors(data=[*batch.errors.data[:SHOWN_ERRORS], more])
    return msgspec.structs.replace(batch, errors=few)


def _errors(stored: list[dict[str, Any]] | None) -> BatchErrors | None:
    return None if stored is None else msgspec.convert({"data": stored}, BatchErrors)


def _usage(row: Row[Any]) -> BatchUsage | None:
    if row.in_progress_at is None:
        return None
    return BatchUsage(
        input_tokens=row.input_tokens,
        input_tokens_details=InputTokensDetails(row.cached_tokens),
        output_tokens=row.output_tokens,
        output_tokens_details=OutputTokensDetails(row.reasoning_tokens),
        total_tokens=row.input_tokens + row.output_tokens,
    )
