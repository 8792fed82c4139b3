"""The user's table: made or checked, then filled by COPY and upsert."""

import re
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from batch_common.errors import ConfigError
from batch_sinks.postgres.rows import COLUMNS, KEY, Row
from batch_sinks.sink import DeliveryError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_STAGING: Final = "vllm_batch_staging"
_NAMES: Final = ", ".join(COLUMNS)
_SET: Final = ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS if name not in KEY)

_FIND_MISSING: Final = """
    SELECT wanted FROM unnest($2::text[]) AS wanted
    WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = $1::regclass AND attname = wanted AND NOT attisdropped
    )
"""


class Table:
    """On a connection that is the caller's."""

    def __init__(self, name: str) -> None:
        """`name` with or without a schema. Raises ConfigError."""
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"result_handlers.postgres.table {name!r} is no table name: letters, digits and _, "
                "with or without a schema in front (schema.table)"
            )
        self._name = name
        self._quoted = ".".join(f'"{part}"' for part in name.split("."))

    async def ensure(self, conn: Any) -> None:
        """Makes the table where there is none. Raises DeliveryError for one that does not fit."""
        if await conn.fetchval("SELECT to_regclass($1)", self._quoted) is None:
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            await conn.execute(
                f"CREATE TABLE IF NOT EXISTS {self._quoted} "
                f"({columns}, PRIMARY KEY ({', '.join(KEY)}))"
            )
            return
        missing = await conn.fetch(_FIND_MISSING, self._quoted, list(COLUMNS))
        if names := [name for name in COLUMNS if (name,) in missing]:
            raise DeliveryError(
                f"the table {self._name} has no column {', '.join(names)}: add "
                + ", ".join(f"{name} {COLUMNS[name]}" for name in names)
                + ", or name another table in result_handlers.postgres.table"
            )

    async def count(self, conn: Any, batch_id: str) -> int:
        statement = f"SELECT count(*) FROM {self._quoted} WHERE batch_id = $1"  # noqa: S608 - checked above
        return int(await conn.fetchval(statement, batch_id))

    async def store(self, conn: Any, rows: Sequence[Row]) -> None:
        """In one transaction; rows that are there already are replaced."""
        try:
            async with conn.transaction():
                await conn.execute(
                    f"CREATE TEMP TABLE {_STAGING} ON COMMIT DROP AS "  # noqa: S608 - as above
                    f"SELECT {_NAMES} FROM {self._quoted} WITH NO DATA"
                )
                await conn.copy_records_to_table(_STAGING, records=rows, columns=list(COLUMNS))
                await conn.execute(
                    f"INSERT INTO {self._quoted} ({_NAMES}) SELECT {_NAMES} FROM {_STAGING} "  # noqa: S608
                    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {_SET}"
                )
        except (TypeError, ValueError, asyncpg.DataError):
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            raise DeliveryError(
                f"the table {self._name} has columns of other types than ours, or shorter ones: "
                f"{columns}"
            ) from None
        except asyncpg.InvalidColumnReferenceError:
            raise DeliveryError(
                f"the table {self._name} has no unique index on ({', '.join(KEY)}): add one, so "
                "that a repeated delivery stores no row twice"
            ) from None
