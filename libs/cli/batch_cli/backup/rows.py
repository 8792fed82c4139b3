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
    names = msgspec.json.decode(await anext(lines), type=list[str])
    table = there[dump.name]
    binary = [isinstance(table.columns[name].type, LargeBinary) for name in names]
    rows: list[dict[str, Any]] = []
    async for line in lines:
        values = msgspec.json.decode(line)
        rows.append(
            {
                name: base64.b64decode(value) if is_binary and value is not None else value
                for name, value, is_binary in zip(names, values, binary, strict=True)
            }
        )
        if len(rows) == _AT_ONCE:
            await conn.execute(insert(table), rows)
            rows = []
    if rows:
        await conn.execute(insert(table), rows)


def _names(connection: Connection) -> set[str]:
    ours = {*tables.metadata.tables, "alembic_version"}
    return ours & set(inspect(connection).get_table_names())
