"""Cursor pagination over ids that sort by creation time."""

import re
from typing import Any, Final

from sqlalchemy import Row, Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_gateway.errors import ApiError

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_id(text: str) -> bool:
    """False for what no id of ours looks like; such text never reaches the database."""
    return _ID.fullmatch(text) is not None


def check_limit(limit: int, most: int) -> int:
    if not 1 <= limit <= most:
        raise ApiError(400, f"limit must be between 1 and {most}.")
    return limit


async def read_page(
    conn: AsyncConnection,
    statement: Select[Any],
    table: Table,
    tenant: str,
    *,
    after: str | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[list[Row[Any]], bool]:
    """One page of `statement` and whether more follows. Raises ApiError (404) for a bad cursor.

    A deleted row is still a good cursor: clients delete while they walk through a list.
    """
    order = table.c.id.desc() if newest_first else table.c.id.asc()
    statement = statement.where(table.c.tenant == tenant).order_by(order).limit(limit + 1)
    if after is not None:
        await _check_cursor(conn, table, tenant, after)
        statement = statement.where(table.c.id < after if newest_first else table.c.id > after)
    rows = list((await conn.execute(statement)).all())
    return rows[:limit], len(rows) > limit


async def _check_cursor(conn: AsyncConnection, table: Table, tenant: str, after: str) -> None:
    known = select(table.c.id).where(table.c.id == after, table.c.tenant == tenant)
    if not is_id(after) or (await conn.execute(known)).first() is None:
        raise ApiError(404, "Resource not found.", param="after")
