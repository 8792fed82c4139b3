"""The database: one engine, reads and writes apart.

On SQLite every write transaction takes the write lock when it begins: with deferred
transactions two processes that read and then write lose updates or fail. Nothing but SQL may
be awaited inside a write, since the other writers wait for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from batch_common import config, crash_points
from batch_common.database_errors import database_errors
from batch_common.errors import ConfigError, DatabaseUnavailableError
from batch_common.process_metrics import WRITE_SECONDS

_BUSY_TIMEOUT_S: Final = 30
# A Postgres that hangs, or is behind a broken link, would be waited for without end.
_CONNECT_S: Final = 10
_ANSWER_S: Final = 30
# After these a loop tries again: the database is away, or full, or one row makes trouble.
DATABASE_ERRORS: Final = (DatabaseUnavailableError, DBAPIError, OSError)
# A process that is suspended in mid-transaction lets go of its rows after this.
_IDLE_TIMEOUT_S: Final = 8
_OUTBOX_MARK: Final = "vllm_batch_outbox"


class Database:
    """Use `read()` and `write()`; `committed` is set after a commit that filled the outbox."""

    def __init__(self, reader: AsyncEngine, writer: AsyncEngine) -> None:
        self._reader = reader
        self._writer = writer
        self.committed = asyncio.Event()
        self.is_sqlite = writer.dialect.name == "sqlite"
        # Within a process SQLite's writers queue here instead of polling the file's lock.
        self._turn: Any = asyncio.Lock() if self.is_sqlite else nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for reading; its snapshot is not kept beyond the block.

        Raises DatabaseUnavailableError.
        """
        with database_errors("read"):
            async with self._reader.connect() as conn:
                yield conn

    @asynccontextmanager
    async def write(self, what: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block and rolls back on exceptions.

        `what` names it among the crash points, as `commit <what>`. Raises
        DatabaseUnavailableError, and then the commit may have been made all the same.
        """
        point = f"commit {what}"
        began = time.monotonic()
        with database_errors(what):
            async with self._turn, self._writer.begin() as conn:
                yield conn
                marked = conn.info.pop(_OUTBOX_MARK, False)
                await crash_points.before(point)
            await crash_points.after(point)
        WRITE_SECONDS.observe(time.monotonic() - began)
        if marked:
            self.committed.set()

    @property
    def engine(self) -> AsyncEngine:
        return self._writer

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()


def mark_outbox(conn: AsyncConnection) -> None:
    """Makes the commit of this transaction wake the relay."""
    conn.info[_OUTBOX_MARK] = True


def open_database(settings: config.Database, data_dir: Path) -> Database:
    """Its errors keep the values of statements to themselves: secrets are among them.

    Raises ConfigError for a URL that is neither SQLite nor Postgres.
    """
    text = settings.url.reveal() or f"sqlite:///{data_dir / 'batches.db'}"
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigError(
            "database.url is not a database URL; give postgresql://user:password@host/name"
        ) from None
    match url.get_backend_name():
        case "sqlite":
            if url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            return _open_sqlite(url.set(drivername="sqlite+aiosqlite"))
        case "postgresql":
            engine = create_async_engine(
                url.set(drivername="postgresql+asyncpg"),
                pool_size=settings.pool_size,
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={"timeout": _CONNECT_S, "command_timeout": _ANSWER_S},
            )
            event.listen(engine.sync_engine, "connect", _end_idle_transactions)
            return Database(engine, engine)
        case other:
            raise ConfigError(f"database.url names {other!r}; use postgresql:// or sqlite:///")


def _open_sqlite(url: Any) -> Database:
    engines = []
    for begin in ("BEGIN", "BEGIN IMMEDIATE"):
        engine = create_async_engine(
            url,
            hide_parameters=True,
            connect_args={"isolation_level": None, "timeout": _BUSY_TIMEOUT_S},
        )
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        event.listen(engine.sync_engine, "begin", _beginner(begin))
        engines.append(engine)
    reader, writer = engines
    return Database(reader, writer)


def _end_idle_transactions(connection: Any, _record: Any) -> None:
    """Else the locks of a suspended scheduler would keep its standby from the lease."""
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_S}s'")
    cursor.close()
    connection.commit()


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _beginner(statement: str) -> Any:
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(statement)

    return begin
