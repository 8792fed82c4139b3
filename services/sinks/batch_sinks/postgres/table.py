"""The user's table: made or checked, then filled by COPY and upsert."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from batch_common.errors import ConfigError
from batch_sinks.postgres.answer_columns import AnswerColumn
from batch_sinks.postgres.rows import COLUMNS, KEY, Row
from batch_sinks.sink import DeliveryError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_SIMPLE: Final = re.compile(r"[a-z_][a-z0-9_]*")
_STAGING: Final = "vllm_batch_staging"
# Who waits for a table holds up all who come after.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '5s'"

_FIND_COLUMNS: Final = """
    SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
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

    async def ensure(self, conn: Any, wanted: Sequence[AnswerColumn]) -> Mapping[AnswerColumn, str]:
        """Makes the table where there is none, and columns for answers where they are missing.

        Returns those with their types. Raises DeliveryError for a table that does not fit.
        """
        if await conn.fetchval("SELECT to_regclass($1)", self._quoted) is None:
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            await conn.execute(
                f"CREATE TABLE IF NOT EXISTS {self._quoted} "
                f"({columns}, PRIMARY KEY ({', '.join(KEY)}))"
            )
        there = dict(await conn.fetch(_FIND_COLUMNS, self._quoted))
        self._refuse_missing({name: kind for name, kind in COLUMNS.items() if name not in there})
        missing = {column.name: column.kind for column in wanted if column.name not in there}
        await self._add(conn, missing)
        types = {column: there.get(column.name, column.kind) for column in wanted}
        self._check_types(types)
        return types

    def _refuse_missing(self, missing: Mapping[str, str]) -> None:
        if missing:
            raise DeliveryError(
                f"the table {self._name} has no column {', '.join(missing)}: add "
                + ", ".join(f"{_shown(name)} {kind}" for name, kind in missing.items())
                + ", or name another table in result_handlers.postgres.table"
            )

    async def _add(self, conn: Any, missing: Mapping[str, str]) -> None:
        if not missing:
            return
        added = ", ".join(
            f"ADD COLUMN IF NOT EXISTS {_quote(name)} {kind}" for name, kind in missing.items()
        )
        try:
            async with conn.transaction():
                await conn.execute(_LOCK_TIMEOUT)
                await conn.execute(f"ALTER TABLE {self._quoted} {added}")
        except asyncpg.InsufficientPrivilegeError:
            self._refuse_missing(missing)

    def _check_types(self, types: Mapping[AnswerColumn, str]) -> None:
        for column, actual in types.items():
            if not column.accepts(actual):
                raise DeliveryError(
                    f"the table {self._name} has a column {column.name} of type {actual}, and the "
                    f"batch's task schema wants {column.kind} there: make it {column.kind}, or "
                    "jsonb or text, which hold both; or name the property otherwise"
                )

    async def count(self, conn: Any, batch_id: str) -> int:
        statement = f"SELECT count(*) FROM {self._quoted} WHERE batch_id = $1"  # noqa: S608 - checked above
        return int(await conn.fetchval(statement, batch_id))

    async def store(self, conn: Any, names: Sequence[str], rows: Sequence[Row]) -> None:
        """In one transaction; rows that are there already are replaced. `names`: their columns."""
        listed = ", ".join(map(_quote, names))
        values = ", ".join(f"{_quote(n)} = EXCLUDED.{_quote(n)}" for n in names if n not in KEY)
        try:
            async with conn.transaction():
                await conn.execute(
                    f"CREATE TEMP TABLE {_STAGING} ON COMMIT DROP AS "  # noqa: S608 - quoted
                    f"SELECT {listed} FROM {self._quoted} WITH NO DATA"
                )
                await conn.copy_records_to_table(_STAGING, records=rows, columns=list(names))
                await conn.execute(
                    f"INSERT INTO {self._quoted} ({listed}) SELECT {listed} FROM {_STAGING} "  # noqa: S608
                    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {values}"
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


def _shown(name: str) -> str:
    """As somebody would type it."""
    return name if _SIMPLE.fullmatch(name) else _quote(name)


def _quote(name: str) -> str:
    """As an identifier; a property of an answer may be named anything."""
    return '"' + name.replace('"', '""') + '"'
