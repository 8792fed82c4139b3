"""The declared moves: what is not in a table does not happen."""

import itertools
from typing import Any

import pytest

from batch_common.state import (
    BATCH_MOVES,
    CHUNK_MOVES,
    DELIVERY_MOVES,
    TERMINAL,
    BatchStatus,
    ChunkState,
    DeliveryState,
    IllegalMoveError,
    move_batch,
    move_chunk,
)


class NoConnection:
    """Proves that an illegal move is refused before the database is asked."""

    async def execute(self, *_: Any) -> Any:
        raise AssertionError("the database was asked")


def illegal(states: Any, moves: Any) -> list[tuple[Any, Any]]:
    pairs = itertools.product(states, states)
    return [(a, b) for a, b in pairs if b not in moves.get(a, frozenset())]


@pytest.mark.parametrize(("source", "target"), illegal(BatchStatus, BATCH_MOVES))
async def test_illegal_batch_moves(source: BatchStatus, target: BatchStatus) -> None:
    with pytest.raises(IllegalMoveError, match=f"{source} to {target}"):
        await move_batch(NoConnection(), "batch_1", source, target, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("source", "target"), illegal(ChunkState, CHUNK_MOVES))
async def test_illegal_chunk_moves(source: ChunkState, target: ChunkState) -> None:
    with pytest.raises(IllegalMoveError, match=f"{source} to {target}"):
        await move_chunk(NoConnection(), "chunk_1", source, target)  # type: ignore[arg-type]


def test_openais_terminal_statuses_are_the_ones_without_a_way_out() -> None:
    assert set(TERMINAL) == {"completed", "failed", "expired", "cancelled"}


@pytest.mark.parametrize("status", [s for s in BatchStatus if s is not BatchStatus.VALIDATING])
def test_every_status_is_reached(status: BatchStatus) -> None:
    assert any(status in targets for targets in BATCH_MOVES.values())


def test_no_status_lasts_for_ever() -> None:
    """From each status some chain of moves ends in a terminal one."""
    ends = set(TERMINAL)
    while more := {s for s in BATCH_MOVES if BATCH_MOVES[s] & ends} - ends:
        ends |= more
    assert ends == set(BatchStatus)


def test_deliveries_end_once() -> None:
    """But for those that were given up: an administrator may ask for one more try."""
    assert set(DELIVERY_MOVES) == {DeliveryState.PENDING, DeliveryState.FAILED}
    assert DELIVERY_MOVES[DeliveryState.FAILED] == {DeliveryState.PENDING}
    assert DELIVERY_MOVES[DeliveryState.PENDING] == set(DeliveryState) - {DeliveryState.PENDING}
