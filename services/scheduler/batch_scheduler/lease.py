"""The scheduler's lease: one process runs the loops, by the database's clock.

Every move is a compare-and-set, so two holders would only waste work; the lease saves that work.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Float, case, cast, func, insert, literal_column, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from batch_common.db import Database
from batch_common.logs import get_log
from batch_common.tables import leases
from batch_common.tasks import wait_any

log = get_log(__name__)

NAME: Final = "scheduler"


class Lease:
    """`holder` names this process; nobody else may use the same."""

    def __init__(self, database: Database, holder: str, ttl_s: float) -> None:
        self._database = database
        self._holder = holder
        self._ttl_s = ttl_s

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Waits until the lease is ours; False when `stop` came first."""
        while not stop.is_set():
            with suppress(IntegrityError):  # another process made the row at the same time
                if await self._take():
                    log.info("lease_taken", holder=self._holder)
                    return True
            await wait_any(stop, timeout_s=self._ttl_s / 3)
        return False

    async def keep(self, lost: asyncio.Event) -> None:
        """Renews until `lost` is set, and sets it when the lease cannot be held any longer."""
        good_until = time.monotonic() + self._ttl_s
        while not lost.is_set():
            await wait_any(lost, timeout_s=self._ttl_s / 3)
            asked_at = time.monotonic()
            try:
                held = await self._take()
            except (DBAPIError, OSError) as error:
                log.warning("lease_not_renewed", error=str(error))
                held = asked_at < good_until
            else:
                good_until = asked_at + self._ttl_s
            if not held:
                log.warning("lease_lost", holder=self._holder)
                lost.set()

    async def give_back(self) -> None:
        """A standby may take over at once."""
        mine = (leases.c.name == NAME, leases.c.holder == self._holder)
        async with self._database.write("lease give back") as conn:
            await conn.execute(update(leases).where(*mine).values(until=0.0))

    async def _take(self) -> bool:
        now = self._now()
        mine = leases.c.holder == self._holder
        epoch = case((mine, leases.c.epoch), else_=leases.c.epoch + 1)
        async with self._database.write("lease take") as conn:
            renewed = await conn.execute(
                update(leases)
                .where(leases.c.name == NAME, or_(mine, leases.c.until < now))
                .values(holder=self._holder, epoch=epoch, until=now + self._ttl_s)
            )
            if renewed.rowcount:
                return True
            if (await conn.execute(select(leases.c.name).where(leases.c.name == NAME))).first():
                return False
            first = {"name": NAME, "holder": self._holder, "epoch": 1}
            await conn.execute(insert(leases).values(**first, until=now + self._ttl_s))
            return True

    def _now(self) -> Any:
        """The database's clock, in Unix seconds: those of the machines may differ."""
        if self._database.is_sqlite:
            return literal_column("((julianday('now') - 2440587.5) * 86400.0)", Float)
        return cast(func.extract("epoch", func.clock_timestamp()), Float)
