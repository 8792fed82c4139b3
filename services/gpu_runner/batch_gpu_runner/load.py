"""Taking a chunk up: its lines and index, and what earlier attempts left of it."""

import msgspec

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.events import ChunkReady
from batch_common.formats.plan import read_index, record_range
from batch_common.logs import get_log
from batch_common.task_schema import decode_task_schema
from batch_gpu_runner.chunk import Lines, PlanDamagedError
from batch_gpu_runner.response_format import ResponseFormat
from batch_gpu_runner.segments import Counted, Merge, read_segment
from batch_gpu_runner.suspect_record import SuspectRecord, read_record

log = get_log(__name__)


class Earlier(msgspec.Struct, frozen=True):
    """What earlier attempts saved.

    keys: their segments, in the order in which results count
    has: a byte for each line, 1 where there is a result
    suspects: what they knew of requests that may have killed the engine; None: nothing
    """

    keys: tuple[str, ...]
    has: bytearray
    counted: Counted
    suspects: SuspectRecord | None = None


def sent_in_vain(has: bytearray) -> int:
    """Lines that an earlier attempt sent and did not save: lines are sent in order, so those
    without a result before the last one that has one. What it sent after that shows nowhere.
    """
    return has.count(0, 0, has.rfind(1) + 1)


async def load_lines(blobs: BlobStore, ready: ChunkReady) -> Lines:
    """Raises BlobNotFoundError, BlobUnavailableError, PlanDamagedError."""
    start, end = record_range(ready.first_line, ready.end_line)
    index = read_index(await blobs.get_range(ready.index_key, start, end))
    data = await blobs.get_range(ready.input_key, ready.first_byte, ready.end_byte)
    return Lines(ready, data, index, await _form(blobs, ready))


async def _form(blobs: BlobStore, ready: ChunkReady) -> ResponseFormat | None:
    if ready.schema_key is None:
        return None
    try:
        schema = decode_task_schema(await blobs.get(ready.schema_key))
    except msgspec.DecodeError as error:
        raise PlanDamagedError(
            f"the task schema {ready.schema_key} cannot be read ({error}): cancel the batch and "
            "create it again"
        ) from error
    return ResponseFormat(schema, ready.endpoint)


async def find_earlier(blobs: BlobStore, ready: ChunkReady) -> Earlier:
    """Reads every segment of every attempt, one at a time. Raises what `load_lines` raises."""
    merge = Merge(ready)
    found: list[str] = []
    completed = failed = 0
    # Attempts sort by the time they began, segments by their number: one order for everybody.
    listed = sorted(info.key for info in await blobs.list(ready.prefix))
    for key in listed:
        if not keys.is_segment(key):
            continue
        try:
            winners = merge.winners(await read_segment(blobs, key))
        except msgspec.DecodeError as error:
            log.warning("segment_damaged", key=key, error=str(error))
            continue
        found.append(key)
        succeeded = sum(record.succeeded for record in winners)
        completed += succeeded
        failed += len(winners) - succeeded
    suspects = await read_record(blobs, listed)
    return Earlier(tuple(found), merge.has, Counted(completed, failed), suspects)
