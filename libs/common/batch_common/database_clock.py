"""Going by the database's clock, which all services share.

On SQLite it is the machine's own, and so is every process's.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Float, cast, func, literal_column, select

from batch_common import clock
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.logs import get_log

log = get_log(__name__)

_EVERY_S: Final = 5.0
# An answer that took longer says too little of when it was given.
_SLOW_S: Final = 1.0
# Machines' clocks are this close to each other; more is worth a line in the log.
_WRONG_S: Final = 2.0


@asynccontextmanager
async def database_clock(database: Database) -> AsyncIterator[None]:
    """Within the block `clock.now` is the database's time, looked up every few seconds."""
    with contextlib.suppress(*DATABASE_ERRORS):
        await look(database)
    following = asyncio.create_task(_follow(database), name="database_clock")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})
        clock.unset()


async def look(database: Database) -> None:
    """Asks once. Raises what a database raises that is away."""
    asked = clock.steady()
    async with database.read() as conn:
        said = (await conn.execute(select(unix_now(database)))).scalar_one()
    took = clock.steady() - asked
    if took > _SLOW_S:
        return
    moved = clock.set_by(float(said), asked + took / 2)
    if abs(moved) > _WRONG_S:
        log.warning("clock_off", by_s=round(-moved, 1), going_by="the database's clock")


def unix_now(database: Database) -> Any:
    """Within a statement: the database's time in Unix seconds."""
    if database.is_sqlite:
        return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
    return cast(func.extract("epoch", func.clock_timestamp()), Float)


async def _follow(database: Database) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            await look(database)
        except DATABASE_ERRORS as error:
            log.debug("clock_not_looked_up", error=str(error))
