"""Rows on their way back into a database, SQLite or Postgres, whichever they came from."""

import base64
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, LargeBinary, Table, insert, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_cli.backup.formats import Dump, Manifest
from batch_cli.backup.place import Place
from batch_cli.backup.snapshot import be_patient, our_tables
from batch_common import tables
from batch_common.db import Database
from batch_common.errors import StartError
from batch_common.migrate import upgrade_to

_AT_ONCE: Final = 500


async def check_empty(database: Database) -> None:
    """Raises StartError when any table of ours is there."""
    async with database.read() as conn:
        found = await conn.run_sync(_names)
    if found:
        raise StartError(
            f"the database is not empty (it has the table {min(found)!r}): restore into a new data "
            "directory, or a new Postgres database"
        )


async def load_rows(database: Database, place: Place, manifest: Manifest) -> None:
    """All of them or none: the schema they were written under, the rows, then this release's.

    Raises SchemaTooNewError for those of a newer release.
    """
    async with database.write("restore") as conn:
        await be_patient(conn, database)
        await conn.run_sync(upgrade_to, manifest.schema)
        there = {table.name: table for table in await conn.run_sync(our_tables)}
        for dump in manifest.tables:
            await _load(conn, place, manifest, dump, there)
        await conn.run_sync(upgrade_to, "head")


async def _load(
    conn: AsyncConnection, place: Place, manifest: Manifest, dump: Dump, there: dict[str, Table]
) -> None:
    lines = place.lines(place.table(manifest.id, dump.name))
    table = there.get(dump.name)
    if table is None:
        raise _damaged(dump, f"schema {manifest.schema} has no such table")
    columns = _columns(await anext(lines, b""), table, dump)
    rows: list[dict[str, Any]] = []
    async for line in lines:
        rows.append(_row(line, columns, dump))
        if len(rows) == _AT_ONCE:
            await conn.execute(insert(table), rows)
            rows = []
    if rows:
        await conn.execute(insert(table), rows)


def _columns(line: bytes, table: Table, dump: Dump) -> dict[str, bool]:
    """Their names, and whether they are binary."""
    try:
        names = msgspec.json.decode(line, type=list[str])
        return {name: isinstance(table.columns[name].type, LargeBinary) for name in names}
    except (msgspec.DecodeError, KeyError) as error:
        raise _damaged(dump, f"its columns: {error}") from error


def _row(line: bytes, columns: dict[str, bool], dump: Dump) -> dict[str, Any]:
    try:
        values = msgspec.json.decode(line, type=list[Any])
        return {
            name: base64.b64decode(value) if is_binary and value is not None else value
            for (name, is_binary), value in zip(columns.items(), values, strict=True)
        }
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise _damaged(dump, f"a row: {error}") from error


def _damaged(dump: Dump, what: str) -> StartError:
    return StartError(
        f"the backup's table {dump.name!r} is damaged ({what}), so no row is restored: use another "
        "backup"
    )


def _names(connection: Connection) -> set[str]:
    ours = {*tables.metadata.tables, "alembic_version"}
    return ours & set(inspect(connection).get_table_names())
