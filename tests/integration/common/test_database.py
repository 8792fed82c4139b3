"""The database: writers that do not lose updates, migrations, compare-and-set."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, select, text, update

from batch_common import config
from batch_common.db import Database, open_database
from batch_common.errors import ConfigError, SchemaTooNewError
from batch_common.migrate import migrate
from batch_common.secret import Secret
from batch_common.state import (
    BatchStatus,
    ChunkState,
    move_batch,
    move_chunk,
)
from batch_common.tables import batches, chunks, metadata, models

COUNT_UP = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import select, update
from batch_common.config import Database
from batch_common.db import open_database
from batch_common.secret import Secret
from batch_common.tables import models

async def main():
    database = open_database(Database(url=Secret(sys.argv[1])), Path(sys.argv[2]))
    for _ in range(int(sys.argv[3])):
        async with database.write("in a test") as conn:
            statement = select(models.c.last_seen).where(models.c.name == "counter")
            if not database.is_sqlite:
                statement = statement.with_for_update()
            value = (await conn.execute(statement)).scalar_one()
            await conn.execute(update(models).values(last_seen=value + 1))
    await database.close()

asyncio.run(main())
"""

MIGRATE = """
import asyncio, sys
from pathlib import Path
from batch_common.config import Database
from batch_common.db import open_database
from batch_common.migrate import migrate
from batch_common.secret import Secret

async def main():
    database = open_database(Database(url=Secret(sys.argv[1])), Path(sys.argv[2]))
    await migrate(database)
    await database.close()

asyncio.run(main())
"""


async def in_processes(script: str, count: int, *arguments: str) -> None:
    command = [sys.executable, "-c", script, *arguments]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(count)]
    ended = await asyncio.gather(*(asyncio.to_thread(p.communicate, None, 60) for p in running))
    assert [
        (p.returncode, output[1].decode()[-2000:])
        for p, output in zip(running, ended, strict=True)
        if p.returncode
    ] == []


async def test_two_processes_lose_no_update(
    database: Database, database_settings: config.Database, tmp_path: Path
) -> None:
    """With deferred SQLite transactions both read the same value and one update is lost."""
    async with database.write("in a test") as conn:
        await conn.execute(insert(models).values(name="counter", first_seen=0, last_seen=0))
    await in_processes(COUNT_UP, 2, database_settings.url.reveal(), str(tmp_path), "150")
    async with database.read() as conn:
        assert (await conn.execute(select(models.c.last_seen))).scalar_one() == 300


async def test_tasks_of_one_process_lose_no_update(database: Database) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(insert(models).values(name="counter", first_seen=0, last_seen=0))

    async def count_up() -> None:
        async with database.write("in a test") as conn:
            statement = select(models.c.last_seen)
            if not database.is_sqlite:
                statement = statement.with_for_update()
            value = (await conn.execute(statement)).scalar_one()
            await asyncio.sleep(0.001)
            await conn.execute(update(models).values(last_seen=value + 1))

    await asyncio.gather(*(count_up() for _ in range(50)))
    async with database.read() as conn:
        assert (await conn.execute(select(models.c.last_seen))).scalar_one() == 50


async def test_reads_go_on_beside_a_write(database: Database) -> None:
    async with database.write("in a test") as writing:
        await writing.execute(insert(models).values(name="m", first_seen=0, last_seen=0))
        async with asyncio.timeout(5), database.read() as conn:
            assert (await conn.execute(select(models))).all() == []


async def test_an_exception_rolls_back(database: Database) -> None:
    async def fail() -> None:
        async with database.write("in a test") as conn:
            await conn.execute(insert(models).values(name="m", first_seen=0, last_seen=0))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with database.read() as conn:
        assert (await conn.execute(select(models))).all() == []


async def test_sqlite_is_set_to_keep_what_it_commits(tmp_path: Path) -> None:
    database = open_database(config.Database(), tmp_path)
    async with database.write("in a test") as conn:
        found = [
            (await conn.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    await database.close()
    assert found == ["wal", 2, 30_000, 1]


@pytest.mark.parametrize("url", ["mysql://user:hunter2@host/db", "not a url hunter2", "://hunter2"])
def test_other_databases_are_refused_without_their_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"database\.url") as raised:
        open_database(config.Database(url=Secret(url)), tmp_path)
    assert "hunter2" not in str(raised.value)


# Migrations


def tables_in(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def test_a_fresh_database_gets_every_table_and_a_second_run_changes_nothing(
    database: Database,
) -> None:
    async with database.read() as conn:
        before = await conn.run_sync(tables_in)
    assert before == {*metadata.tables, "alembic_version"}
    await migrate(database)
    async with database.read() as conn:
        assert await conn.run_sync(tables_in) == before


async def test_the_migrations_make_what_tables_py_says(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        )

    async with database.read() as conn:
        assert await conn.run_sync(differences) == []


async def test_processes_that_migrate_at_once_take_turns(
    database_settings: config.Database, tmp_path: Path
) -> None:
    await in_processes(MIGRATE, 3, database_settings.url.reveal(), str(tmp_path))
    database = open_database(database_settings, tmp_path)
    async with database.read() as conn:
        assert {*metadata.tables} < await conn.run_sync(tables_in)
        versions = (await conn.execute(text("SELECT version_num FROM alembic_version"))).all()
    await database.close()
    assert len(versions) == 1


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNewError, match=r"'9999'.*newer release"):
        await migrate(database)
    async with database.read() as conn:
        assert (
            await conn.execute(text("SELECT version_num FROM alembic_version"))
        ).scalar_one() == "9999"


# Compare-and-set

BATCH: Mapping[str, object] = {
    "id": "batch_1",
    "tenant": "default",
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "in_progress",
    "created_at": 1,
    "expires_at": 2,
}
CHUNK: Mapping[str, object] = {
    "id": "chunk_1",
    "batch_id": "batch_1",
    "tenant": "default",
    "model": "m",
    "first_line": 0,
    "end_line": 1,
    "first_byte": 0,
    "end_byte": 1,
    "tokens": 1,
    "state": "released",
    "released_at": 1.0,
}


async def test_of_many_that_move_a_batch_one_wins(database: Database) -> None:
    """Race: cancel, expire and finalise at once."""
    async with database.write("in a test") as conn:
        await conn.execute(insert(batches).values(**BATCH))
    targets = [BatchStatus.CANCELLING, BatchStatus.EXPIRED, BatchStatus.FINALIZING] * 4

    async def move(target: BatchStatus) -> bool:
        async with database.write("in a test") as conn:
            return await move_batch(conn, "batch_1", BatchStatus.IN_PROGRESS, target, 7)

    won = await asyncio.gather(*map(move, targets))
    assert won.count(True) == 1
    winner = targets[won.index(True)]
    async with database.read() as conn:
        row = (await conn.execute(select(batches))).one()
    assert row.status == winner
    stamps = {t: getattr(row, f"{t}_at") for t in set(targets)}
    assert {t for t, at in stamps.items() if at == 7} == {winner}


async def test_a_second_commit_of_a_chunk_changes_nothing(database: Database) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(insert(chunks).values(**CHUNK))

    async def commit(attempt: int) -> bool:
        async with database.write("in a test") as conn:
            return await move_chunk(
                conn,
                "chunk_1",
                ChunkState.RELEASED,
                ChunkState.COMMITTED,
                manifest_key=f"attempt {attempt}",
            )

    won = await asyncio.gather(*map(commit, range(8)))
    assert won.count(True) == 1
    async with database.read() as conn:
        row = (await conn.execute(select(chunks))).one()
    assert (row.state, row.manifest_key) == ("committed", f"attempt {won.index(True)}")


async def test_a_batch_that_is_not_there_is_not_moved(database: Database) -> None:
    async with database.write("in a test") as conn:
        assert not await move_batch(conn, "batch_0", BatchStatus.VALIDATING, BatchStatus.FAILED, 1)
