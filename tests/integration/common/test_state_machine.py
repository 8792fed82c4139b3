"""Any writers, in any order, at once or one after another: states move only along the tables."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from batch_common.config import Database as Settings
from batch_common.db import Database, open_database
from batch_common.state import (
    BATCH_MOVES,
    CHUNK_MOVES,
    TERMINAL,
    BatchStatus,
    ChunkState,
    IllegalMoveError,
    move_batch,
    move_chunk,
)
from batch_common.tables import batches, chunks, metadata
from support.examples import examples

BATCH = {
    "tenant": "t",
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "created_at": 1,
    "expires_at": 2,
}
CHUNK = {
    "batch_id": "batch_1",
    "tenant": "t",
    "model": "m",
    "first_line": 0,
    "end_line": 1,
    "first_byte": 0,
    "end_byte": 1,
    "tokens": 1,
    "released_at": 1.0,
}
# Which of two connections writes, what it believes, what it wants, whether the next is at once.
BATCH_WRITES = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(BatchStatus), st.sampled_from(BatchStatus), st.booleans()
    ),
    max_size=14,
)
CHUNK_WRITES = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(ChunkState), st.sampled_from(ChunkState), st.booleans()
    ),
    max_size=8,
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one SQLite file, for all examples: each has a row of its own."""
    made = tmp_path_factory.mktemp("states")

    async def make() -> None:
        database = open_database(Settings(), made)
        async with database.write("in a test") as conn:
            await conn.run_sync(metadata.create_all)
        await database.close()

    asyncio.run(make())
    return made


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Database, Database]]:
    """Connections to it, as two processes have."""
    databases = open_database(Settings(), folder), open_database(Settings(), folder)
    yield databases
    for database in databases:
        await database.close()


@given(BATCH_WRITES)
@examples(60)
def test_a_batch_moves_only_along_the_table(
    folder: Path, writes: list[tuple[bool, BatchStatus, BatchStatus, bool]]
) -> None:
    async def run() -> None:
        async with two(folder) as databases:
            await _batches(databases, writes)

    asyncio.run(run())


async def _batches(
    databases: tuple[Database, Database],
    writes: list[tuple[bool, BatchStatus, BatchStatus, bool]],
) -> None:
    name = f"batch_{next(_numbers)}"
    async with databases[0].write("in a test") as conn:
        await conn.execute(insert(batches).values(id=name, status=BatchStatus.VALIDATING, **BATCH))

    async def move(which: bool, source: BatchStatus, target: BatchStatus, at: int) -> bool | None:
        """None: the table has no such move."""
        async with databases[which].write("in a test") as conn:
            try:
                return await move_batch(conn, name, source, target, at)
            except IllegalMoveError:
                return None

    status = BatchStatus.VALIDATING
    for group in _at_once(writes):
        made = await asyncio.gather(
            *(move(which, source, target, at) for at, (which, source, target, _) in group)
        )
        moves = [
            (source, target)
            for (_, (_, source, target, _)), won in zip(group, made, strict=True)
            if won
        ]
        for (_, (_, source, target, _)), won in zip(group, made, strict=True):
            assert (won is None) == (target not in BATCH_MOVES.get(source, ()))
        path = _path(status, moves)
        assert path is not None, f"{moves} from {status}"
        status = path
        async with databases[0].read() as conn:
            row = (await conn.execute(select(batches).where(batches.c.id == name))).one()
        assert row.status == status
        if status in TERMINAL:
            assert not BATCH_MOVES.get(status)


@given(CHUNK_WRITES)
@examples(30)
def test_a_chunk_is_settled_once(
    folder: Path, writes: list[tuple[bool, ChunkState, ChunkState, bool]]
) -> None:
    async def run() -> None:
        async with two(folder) as databases:
            await _chunks(databases, writes)

    asyncio.run(run())


async def _chunks(
    databases: tuple[Database, Database],
    writes: list[tuple[bool, ChunkState, ChunkState, bool]],
) -> None:
    """The first that settles it is the only one, and its values are the ones that stay."""
    name = f"chunk_{next(_numbers)}"
    async with databases[0].write("in a test") as conn:
        await conn.execute(insert(chunks).values(id=name, state=ChunkState.RELEASED, **CHUNK))

    async def move(which: bool, source: ChunkState, target: ChunkState, at: int) -> bool:
        async with databases[which].write("in a test") as conn:
            try:
                return await move_chunk(conn, name, source, target, completed=at)
            except IllegalMoveError:
                assert target not in CHUNK_MOVES.get(source, ())
                return False

    won: list[tuple[int, ChunkState]] = []
    for group in _at_once(writes):
        made = await asyncio.gather(
            *(move(which, source, target, at) for at, (which, source, target, _) in group)
        )
        won += [
            (at, target) for (at, (_, _, target, _)), done in zip(group, made, strict=True) if done
        ]
    async with databases[0].read() as conn:
        row = (await conn.execute(select(chunks).where(chunks.c.id == name))).one()
    assert len(won) <= 1
    assert (row.completed, row.state) == (won[0] if won else (0, ChunkState.RELEASED))


def _at_once(writes: list) -> list[list]:
    """Runs of writes that are made side by side; each with a number from 1."""
    groups: list[list] = [[]]
    for at, write in enumerate(writes, 1):
        groups[-1].append((at, write))
        if not write[3]:
            groups.append([])
    return [group for group in groups if group]


def _path(status: BatchStatus, moves: list) -> BatchStatus | None:
    """Where a batch stands after these moves in some order; None when no order explains them."""
    if not moves:
        return status
    for number, (source, target) in enumerate(moves):
        if source == status:
            end = _path(target, moves[:number] + moves[number + 1 :])
            if end is not None:
                return end
    return None
