"""`POST /v1/batches/{id}/retry`: a new batch of what an ended one has no success for.

The error file names these requests, and their lines come from what the batch was planned from:
that stays as long as the error file does, whatever became of the input file.
"""

from typing import Any, Final

from sqlalchemy import Row

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.content import Part
from batch_common.ids import new_id
from batch_common.state import TERMINAL, BatchStatus
from batch_gateway.batch_request import BatchRequest
from batch_gateway.batch_store import BatchStore
from batch_gateway.errors import ApiError
from batch_gateway.expiry import file_expires_at
from batch_gateway.file_store import Draft, FileStore
from batch_gateway.file_upload import run_to_end
from batch_gateway.idempotency import Keep
from batch_gateway.metadata import MAX_PAIRS
from batch_gateway.objects import Batch
from batch_gateway.purposes import BATCH
from batch_gateway.retry_lines import failed_lines, planned_lines

# The new batch's metadata says so which batch it is the retry of.
RETRY_OF: Final = "retry_of"


class Retry:
    def __init__(self, batches: BatchStore, files: FileStore, blobs: BlobStore) -> None:
        self._batches = batches
        self._files = files
        self._blobs = blobs

    async def create(self, tenant: str, batch_id: str, traceparent: str, keep: Keep) -> Batch:
        """Raises ApiError (400, 404, 409) where there is nothing to retry, or nothing left of it.

        A process that dies here leaves a hidden file row, which the sweeper clears up after.
        """
        row = await self._batches.row(tenant, batch_id)
        check_retryable(row)
        errors = await self._error_parts(tenant, row)
        file_id, created_at = new_id("file-"), clock.timestamp()
        key = await self._files.begin(file_id, tenant, created_at)
        try:
            size = await self._put(key, row, errors)
            draft = Draft(
                purpose=BATCH,
                filename=f"{row.id}_retry.jsonl",
                bytes=size,
                expires_at=file_expires_at(BATCH, created_at, None),
            )
            wanted = retry_request(row, file_id)
            return await self._batches.create_with_file(tenant, wanted, draft, traceparent, keep)
        except BaseException:
            await run_to_end(self._files.discard(file_id))
            raise

    async def _error_parts(self, tenant: str, row: Row[Any]) -> tuple[Part, ...]:
        parts = await self._files.parts(tenant, row.error_file_id)
        if not parts:
            raise _gone(row, f"its error file {row.error_file_id} was deleted or has expired")
        return parts

    async def _put(self, key: str, row: Row[Any], errors: tuple[Part, ...]) -> int:
        try:
            failed = await failed_lines(self._blobs, errors)
            return await self._blobs.put(key, planned_lines(self._blobs, row, failed))
        except BlobNotFoundError as error:
            raise _gone(row, "the server no longer has its request lines") from error


def check_retryable(row: Row[Any]) -> None:
    """Raises ApiError (400, 409) for a batch that offers nothing to retry."""
    if row.status not in TERMINAL:
        raise ApiError(
            409,
            f"Cannot retry a batch with status '{row.status}': wait until it has ended, "
            "or cancel it.",
            retry=False,
        )
    if row.error_file_id is None:
        raise ApiError(400, _why_nothing(row), code="nothing_to_retry")


def _why_nothing(row: Row[Any]) -> str:
    if row.status == BatchStatus.FAILED:
        return (
            f"Batch '{row.id}' failed, and no request of it can be told to have failed by itself: "
            "see its errors, and create a new batch."
        )
    if row.in_progress_at is None:
        return (
            f"Batch '{row.id}' ended before its requests were read: create a new batch with its "
            f"input file {row.input_file_id}."
        )
    return f"Nothing to retry: all {row.total} requests of batch '{row.id}' succeeded."


def retry_request(row: Row[Any], input_file_id: str) -> BatchRequest:
    """As the ended batch was asked for, with the task schema that it had; metadata that is full
    stays as it is.
    """
    given = row.metadata or {}
    named = {**given, RETRY_OF: row.id}
    return BatchRequest(
        input_file_id=input_file_id,
        endpoint=row.endpoint,
        completion_window=row.completion_window,
        window_s=row.expires_at - row.created_at,
        metadata=named if len(named) <= MAX_PAIRS else given,
        output_expires_after_s=row.output_expires_after_s,
        task_schema=row.task_schema,
    )


def _gone(row: Row[Any], why: str) -> ApiError:
    return ApiError(
        404, f"Batch '{row.id}' cannot be retried: {why}. Create a new batch of your own file."
    )
