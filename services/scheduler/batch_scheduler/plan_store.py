"""Reading plans back: what is missing, short or unreadable is a plan that is lost."""

from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError, PermanentError
from batch_common.formats.plan import Index, read_index, record_range
from batch_common.keys import plan_index, plan_input


class PlanLostError(PermanentError):
    """The blob store no longer has (all of) the plan of a batch that needs it."""

    def __init__(self, batch_id: str, key: str, reason: str) -> None:
        super().__init__(f"the plan of {batch_id} is lost: {key} {reason}")
        self.batch_id = batch_id


async def read_records(
    blobs: BlobStore, batch_id: str, plan: str | None, first_line: int, end_line: int
) -> Index:
    """The index records of these planned lines. Raises PlanLostError, BlobUnavailableError."""
    key = plan_index(batch_id, plan)
    return read_index(await _whole(blobs, batch_id, key, *record_range(first_line, end_line)))


async def read_lines(
    blobs: BlobStore, batch_id: str, plan: str | None, start: int, end: int
) -> bytes:
    """Bytes of the planned input. Raises PlanLostError, BlobUnavailableError."""
    return await _whole(blobs, batch_id, plan_input(batch_id, plan), start, end)


async def _whole(blobs: BlobStore, batch_id: str, key: str, start: int, end: int) -> bytes:
    try:
        data = await blobs.get_range(key, start, end)
    except BlobNotFoundError as error:
        raise PlanLostError(batch_id, key, "does not exist") from error
    if len(data) < end - start:
        raise PlanLostError(batch_id, key, f"ends before byte {end}")
    return data
