"""The end of a batch: status, file rows, deliveries and event, in the caller's transaction."""

from typing import Final

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.config import Sinks
from batch_common.events import (
    BatchCancelled,
    BatchCompleted,
    BatchEnded,
    BatchExpired,
    BatchFailed,
    Counts,
    TokenUsage,
)
from batch_common.ids import new_id
from batch_common.outbox import add_batch_event
from batch_common.state import BatchStatus, move_batch
from batch_common.tables import files
from batch_scheduler.context import SOURCE, AnyRow
from batch_scheduler.deliveries import add_deliveries
from batch_scheduler.metrics import BATCH_SECONDS, MOVES

# Where the batch does not say: OpenAI deletes results 30 days after they are made.
_RESULTS_KEPT_S: Final = 30 * 86400
_EVENTS: Final[dict[BatchStatus, type[BatchEnded]]] = {
    BatchStatus.COMPLETED: BatchCompleted,
    BatchStatus.FAILED: BatchFailed,
    BatchStatus.EXPIRED: BatchExpired,
    BatchStatus.CANCELLED: BatchCancelled,
}


class ResultFile(msgspec.Struct, frozen=True):
    """A composed file that is to be: its Content stands under `blob_key` already."""

    blob_key: str
    bytes: int


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """None for a file without lines."""

    status: BatchStatus
    output: ResultFile | None = None
    errors: ResultFile | None = None
    problems: list[dict[str, object]] | None = None


async def end_batch(
    conn: AsyncConnection, batch: AnyRow, ending: Ending, at: int, sinks: Sinks
) -> bool:
    """False, with nothing changed, when the batch has left the status of `batch` since."""
    output_id = new_id("file-") if ending.output else None
    error_id = new_id("file-") if ending.errors else None
    values: dict[str, object] = {"output_file_id": output_id, "error_file_id": error_id}
    if ending.problems is not None:
        values["errors"] = ending.problems
    source = BatchStatus(batch.status)
    if not await move_batch(conn, batch.id, source, ending.status, at, **values):
        return False
    for file_id, made, name in (
        (output_id, ending.output, "output"),
        (error_id, ending.errors, "error"),
    ):
        if file_id and made:
            await conn.execute(insert(files).values(_file_row(batch, file_id, made, name, at)))
    event = _event(batch, ending.status, output_id, error_id, at)
    event_id = await add_batch_event(conn, event, SOURCE, batch.traceparent)
    await add_deliveries(conn, batch, event_id, event, sinks)
    return True


def count_end(batch: AnyRow, status: BatchStatus) -> None:
    """For Prometheus, once `end_batch` is committed."""
    MOVES.labels(status).inc()
    BATCH_SECONDS.labels(status).observe(max(0.0, clock.now() - batch.created_at))


def _file_row(
    batch: AnyRow, file_id: str, made: ResultFile, name: str, at: int
) -> dict[str, object]:
    return {
        "id": file_id,
        "tenant": batch.tenant,
        "purpose": "batch_output",
        "filename": f"{batch.id}_{name}.jsonl",
        "bytes": made.bytes,
        "created_at": at,
        "expires_at": at + (batch.output_expires_after_s or _RESULTS_KEPT_S),
        "blob_key": made.blob_key,
        "composed": True,
    }


def _event(
    batch: AnyRow, status: BatchStatus, output_id: str | None, error_id: str | None, at: int
) -> BatchEnded:
    return _EVENTS[status](
        batch_id=batch.id,
        tenant=batch.tenant,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        at=at,
        metadata=batch.metadata,
        counts=Counts(batch.total, batch.completed, batch.failed),
        usage=TokenUsage(
            batch.input_tokens, batch.cached_tokens, batch.output_tokens, batch.reasoning_tokens
        ),
        model=batch.model,
        output_file_id=output_id,
        error_file_id=error_id,
    )
