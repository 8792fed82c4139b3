"""Which objects of the blob store somebody may still need. Pure, by the rows alone.

Every rule holds at every moment of a batch's life, whatever the age of the object: rows are read
after the object was seen, and a row that makes an object needless is never undone.
"""

from typing import Any, Final

from batch_common.keys import batch_content, plan_prefix
from batch_common.state import TERMINAL, BatchStatus, ChunkState

# A row of `batches`, besides: `planned` (it has spans), `output_kept`, `errors_kept` (its result
# files are not purged).
BatchRow = Any
_ENDED: Final = TERMINAL


def file_needed(file: Any) -> bool:
    """Content of a file. A hidden row may be of an upload that is just coming in."""
    return file is not None and file.purged_at is None


def plan_needed(key: str, batch: BatchRow) -> bool:
    """A validation that was overtaken may have left another plan than the one that counts."""
    if batch is None:
        return False
    if batch.status == BatchStatus.VALIDATING:
        return True
    if batch.status in _ENDED and not (batch.planned or batch.errors_kept):
        return False
    folder = plan_prefix(batch.id)
    name = key.removeprefix(folder).rpartition("/")[0]
    return name == (batch.plan or "")


def result_needed(key: str, batch: BatchRow) -> bool:
    """The Content of a batch's result file."""
    if batch is None:
        return False
    if batch.status not in _ENDED:
        return True
    if key == batch_content(batch.id, "output"):
        return bool(batch.output_kept)
    return bool(batch.errors_kept)


def chunk_object_needed(key: str, batch: BatchRow, chunk: Any) -> bool:
    """Segments, results and manifests of attempts at a chunk; `chunk` is its row, or None."""
    if batch is None:
        return False
    running = batch.status not in _ENDED
    if chunk is None or chunk.state == ChunkState.RELEASED:
        # Without a row: its lines are just being closed.
        return running
    kept = {
        chunk.manifest_key: running or batch.output_kept or batch.errors_kept,
        chunk.output_key: running or batch.output_kept,
        chunk.error_key: running or batch.errors_kept,
    }
    return bool(kept.get(key))
