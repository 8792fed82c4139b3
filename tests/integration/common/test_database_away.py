"""The database restarts, is locked, or is not there: one kind of error says so."""

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, insert, select, text

from batch_common import config
from batch_common.db import Database, open_database
from batch_common.errors import DatabaseUnavailableError, StartError
from batch_common.migrate import migrate, migrate_at_start
from batch_common.secret import Secret
from batch_common.tables import models
from chaos.postgres_server import PostgresServer
from support.wait import until


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresServer]:
    server = PostgresServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def there(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Database]:
    settings = config.Database(url=Secret(postgres.url), pool_size=2)
    database = open_database(settings, tmp_path)
    await migrate(database)
    yield database
    await database.close()


class Users:
    """Tasks that read and write without a pause, and what they met."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.met: Counter[str] = Counter()
        self.done = 0
        self.committed: list[str] = []

    async def write(self, stop: asyncio.Event, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"{name}-{number}"

            async def step(key: str = key) -> None:
                async with self._database.write("in a test") as conn:
                    row = {"name": key, "first_seen": 0, "last_seen": 0}
                    await conn.execute(insert(models).values(row))
                    await conn.execute(select(func.count()).select_from(models))
                self.committed.append(key)

            await self._try(step)

    async def read(self, stop: asyncio.Event) -> None:
        async def step() -> None:
            async with self._database.read() as conn:
                await conn.execute(text("SELECT pg_sleep(0.05)"))
                await conn.execute(select(func.count()).select_from(models))

        while not stop.is_set():
            await self._try(step)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
            self.done += 1
        except Exception as error:  # noqa: BLE001 - which ones come out is the question
            self.met[type(error).__name__] += 1
            await asyncio.sleep(0.02)


@pytest.mark.faults
@pytest.mark.parametrize("how", ["immediate", "killed"])
async def test_a_restart_raises_one_kind_of_error_and_loses_no_commit(
    postgres: PostgresServer, there: Database, how: str
) -> None:
    """Raw errors of the driver came out while it connected, and ended the tasks that met them."""
    users, stop = Users(there), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(users.write(stop, f"w{number}"))
            group.create_task(users.read(stop))
        for _ in range(3):
            await until(lambda goal=users.done + 20: users.done > goal, what="work")
            await (postgres.stop_at_once() if how == "immediate" else postgres.kill())
            await asyncio.sleep(0.3)
            await postgres.start_again()
        await until(lambda goal=users.done + 20: users.done > goal, what="work after all")
        stop.set()
    assert set(users.met) == {"DatabaseUnavailableError"}
    async with there.read() as conn:
        kept = set((await conn.execute(select(models.c.name))).scalars())
    assert set(users.committed) <= kept


@pytest.mark.faults
async def test_a_server_that_is_full_is_a_passing_fault(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """What the server says while one connects is not wrapped by SQLAlchemy."""
    settings = config.Database(url=Secret(postgres.url), pool_size=200)
    database = open_database(settings, tmp_path)
    async with contextlib.AsyncExitStack() as held:

        async def all_of_them() -> None:
            for _ in range(200):
                await held.enter_async_context(database.read())

        with pytest.raises(DatabaseUnavailableError, match="too many clients"):
            await all_of_them()
    await database.close()


async def test_a_service_waits_for_a_postgres_that_starts_beside_it(
    postgres: PostgresServer,
) -> None:
    database = open_database(config.Database(url=Secret(postgres.url)), Path())
    await postgres.stop_at_once()
    starting = asyncio.create_task(migrate_at_start(database, asyncio.Event()))
    await asyncio.wait({starting}, timeout=2)
    assert not starting.done()
    await postgres.start_again()
    await asyncio.wait_for(starting, 30)
    await database.close()


async def test_a_postgres_that_refuses_is_not_waited_for(postgres: PostgresServer) -> None:
    url = urlsplit(postgres.url)._replace(path="/no_such_database").geturl()
    database = open_database(config.Database(url=Secret(url)), Path())
    with pytest.raises(StartError, match="no_such_database"):
        await asyncio.wait_for(migrate_at_start(database, asyncio.Event()), 10)
    await database.close()


async def test_a_mistake_of_ours_is_no_passing_fault(database: Database) -> None:
    async def write_twice() -> None:
        async with database.write("in a test") as conn:
            for _ in range(2):
                await conn.execute(insert(models).values(name="m", first_seen=0, last_seen=0))

    with pytest.raises(Exception, match=r"(?i)unique") as raised:
        await write_twice()
    assert not isinstance(raised.value, DatabaseUnavailableError)


async def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    """Another process (a backup, a curious person) holds SQLite's write lock."""
    database = open_database(config.Database(), tmp_path)
    await migrate(database)
    other = sqlite3.connect(tmp_path / "batches.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        async with database.write("in a test") as conn:
            await conn.execute(insert(models).values(name="m", first_seen=0, last_seen=0))

    writing = asyncio.create_task(write())
    await asyncio.wait({writing}, timeout=1)
    assert not writing.done()
    other.execute("ROLLBACK")
    other.close()
    await asyncio.wait_for(writing, 10)
    await database.close()
