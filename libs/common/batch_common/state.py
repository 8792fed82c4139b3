"""States of batches, chunks and deliveries, and the only moves between them."""

from enum import StrEnum

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common.tables import batches, chunks


class BatchStatus(StrEnum):
    """OpenAI's statuses, with their meaning here."""

    VALIDATING = "validating"  # accepted; lines are being checked and planned
    FAILED = "failed"  # the input is invalid, nothing ran; or its plan was lost in mid-run
    IN_PROGRESS = "in_progress"  # planned; chunks are released to runners
    FINALIZING = "finalizing"  # every line has its result; files are being made
    COMPLETED = "completed"
    EXPIRED = "expired"  # the completion window ended first; finished results are kept
    CANCELLING = "cancelling"  # asked to stop; requests in flight end
    CANCELLED = "cancelled"  # finished results are kept


class ChunkState(StrEnum):
    """Where a range of lines stands."""

    RELEASED = "released"  # handed out, its results are not final yet
    COMMITTED = "committed"  # every line has a result from a runner
    CLOSED = "closed"  # ended by cancellation or expiry; unfinished lines are errors


class DeliveryState(StrEnum):
    """Where one batch stands with one sink."""

    PENDING = "pending"  # to be tried, now or at next_at
    DELIVERED = "delivered"
    SKIPPED = "skipped"  # the sink is set not to take events of this type
    FAILED = "failed"  # tried for too long; a message on dead.<sink> says so


BATCH_MOVES: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset(
        {
            BatchStatus.IN_PROGRESS,
            BatchStatus.FAILED,
            BatchStatus.CANCELLING,
            BatchStatus.EXPIRED,
        }
    ),
    # From in progress to failed: the blob store has lost what is left of the input.
    BatchStatus.IN_PROGRESS: frozenset(
        {
            BatchStatus.FINALIZING,
            BatchStatus.CANCELLING,
            BatchStatus.EXPIRED,
            BatchStatus.FAILED,
        }
    ),
    # Finalizing only gathers what exists: cancelling it then ends as cancelled with all results.
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.CANCELLING}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
}  # a status with no row is final

CHUNK_MOVES: dict[ChunkState, frozenset[ChunkState]] = {
    ChunkState.RELEASED: frozenset({ChunkState.COMMITTED, ChunkState.CLOSED}),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {DeliveryState.DELIVERED, DeliveryState.SKIPPED, DeliveryState.FAILED}
    ),
    # An administrator asks for one more try.
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING}),
}

TERMINAL = frozenset(status for status in BatchStatus if status not in BATCH_MOVES)


class IllegalMoveError(AssertionError):
    """A programming error: the declared table has no such move."""


async def move_batch(
    conn: AsyncConnection,
    batch_id: str,
    source: BatchStatus,
    target: BatchStatus,
    at: int,
    **values: object,
) -> bool:
    """Compare-and-set; stamps `<target>_at` and sets `values` besides.

    False when another process moved the batch first: then nothing was changed.
    """
    if target not in BATCH_MOVES.get(source, frozenset()):
        raise IllegalMoveError(f"no move from {source} to {target}")
    statement = (
        update(batches)
        .where(batches.c.id == batch_id, batches.c.status == source)
        .values(status=target, **{f"{target}_at": at}, **values)
    )
    return (await conn.execute(statement)).rowcount == 1


async def move_chunk(
    conn: AsyncConnection, chunk_id: str, source: ChunkState, target: ChunkState, **values: object
) -> bool:
    """Compare-and-set of a chunk's state; False when somebody else settled it first."""
    if target not in CHUNK_MOVES.get(source, frozenset()):
        raise IllegalMoveError(f"no move from {source} to {target}")
    statement = (
        update(chunks)
        .where(chunks.c.id == chunk_id, chunks.c.state == source)
        .values(state=target, **values)
    )
    return (await conn.execute(statement)).rowcount == 1
