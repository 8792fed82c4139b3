"""Every row, as of one moment, in a form that either database takes back.

One transaction reads everything: a snapshot on Postgres (REPEATABLE READ), a read transaction over
the write-ahead log on SQLite. Neither makes a writer wait. While it lasts SQLite's log grows, and
Postgres vacuums nothing younger; it lasts for the rows, not for the objects.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, MetaData, Table, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_cli.backup.digest import Digested
from batch_cli.backup.formats import Dump
from batch_cli.backup.place import Place
from batch_common import clock, tables
from batch_common.db import Database
from batch_common.errors import StartError
from batch_common.migrate import schema_of

_AT_ONCE: Final = 500
# A slow place for the backup is no suspended process.
_PATIENCE: Final = "SET LOCAL idle_in_transaction_session_timeout = '15min'"

Watch = Callable[[str, Sequence[Any]], Coroutine[Any, Any, None]]


class Snapshot(msgspec.Struct, frozen=True):
    """What was written; `at` is in Unix seconds."""

    schema: str
    installation: str
    at: float
    tables: tuple[Dump, ...]


async def dump_rows(database: Database, place: Place, backup_id: str, watch: Watch) -> Snapshot:
    """Writes each table to `place`; `watch` sees every row, some hundred at a time.

    Raises StartError for a database that no service has used yet.
    """
    async with database.read() as conn:
        await _begin(conn, database)
        at = clock.wall()
        schema = await conn.run_sync(schema_of)
        if schema is None:
            raise StartError(
                "the database has no tables of ours: check --config and --data-dir, and that the "
                "services have run with them once"
            )
        found = await conn.run_sync(our_tables)
        dumps = [await _dump(conn, place, backup_id, table, watch) for table in found]
        return Snapshot(schema, await _installation(conn), at, tuple(dumps))


async def _begin(conn: AsyncConnection, database: Database) -> None:
    if not database.is_sqlite:
        await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        await be_patient(conn, database)


async def be_patient(conn: AsyncConnection, database: Database) -> None:
    """This transaction may wait for objects between its statements."""
    if not database.is_sqlite:
        await conn.execute(text(_PATIENCE))


def our_tables(connection: Connection) -> list[Table]:
    """Of this database, as they are there: it may be of an older release. By name."""
    names = set(inspect(connection).get_table_names()) & set(tables.metadata.tables)
    found = MetaData()
    found.reflect(connection, only=sorted(names))
    for table in found.tables.values():
        for column in table.columns:
            if (known := tables.metadata.tables[table.name].columns.get(column.name)) is not None:
                column.type = known.type
    return [found.tables[name] for name in sorted(names)]


async def _dump(
    conn: AsyncConnection, place: Place, backup_id: str, table: Table, watch: Watch
) -> Dump:
    counted = _Rows(conn, table, watch)
    digested = Digested(counted.lines())
    await place.store.put(place.table(backup_id, table.name), digested.pieces())
    return Dump(str(table.name), counted.number, digested.bytes, digested.sha256)


class _Rows:
    """The lines of one table's file; `number` counts its rows."""

    def __init__(self, conn: AsyncConnection, table: Table, watch: Watch) -> None:
        self._conn = conn
        self._table = table
        self._watch = watch
        self.number = 0

    async def lines(self) -> AsyncIterator[bytes]:
        yield msgspec.json.encode([str(column.name) for column in self._table.columns]) + b"\n"
        options = {"yield_per": _AT_ONCE}
        async with self._conn.stream(select(self._table), execution_options=options) as result:
            async for rows in result.partitions(_AT_ONCE):
                await self._watch(self._table.name, rows)
                self.number += len(rows)
                yield b"".join(msgspec.json.encode(tuple(row)) + b"\n" for row in rows)


async def _installation(conn: AsyncConnection) -> str:
    first = select(tables.installation.c.id).order_by(tables.installation.c.id).limit(1)
    return str((await conn.execute(first)).scalar() or "")
