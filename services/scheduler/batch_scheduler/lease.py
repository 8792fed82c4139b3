"""The scheduler's lease: one process runs the loops, by the database's clock.

Every move is a compare-and-set, so two holders would only waste work; the lease saves that work.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final

from sqlalchemy import ColumnElement, case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from batch_common.database_clock import unix_now
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.logs import get_log
from batch_common.tables import leases
from batch_common.tasks import wait_any
from batch_scheduler.reach import Reach

log = get_log(__name__)

NAME: Final = "scheduler"
# A standby looks this often: with the default lease it is at work within 15 s.
_LOOK_S: Final = 1.0


class Lease:
    """`holder` names this process; nobody else may use the same.

    Who does not reach NATS neither takes the lease nor keeps it: a standby may.
    """

    def __init__(self, database: Database, holder: str, ttl_s: float, reach: Reach) -> None:
        self._database = database
        self._holder = holder
        self._ttl_s = ttl_s
        self._reach = reach
        # By the monotonic clock, and counted from before the database was asked.
        self._good_until = 0.0

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Waits until the lease is ours; False when `stop` came first."""
        while not stop.is_set():
            try:
                if not self._reach.lost.is_set() and await self._is_free() and await self._renew():
                    log.info("lease_taken", holder=self._holder)
                    return True
            except DATABASE_ERRORS as error:
                log.warning("lease_not_seen", error=str(error))
            await wait_any(stop, timeout_s=min(self._ttl_s / 3, _LOOK_S))
        return False

    async def keep(self, lost: asyncio.Event) -> None:
        """Renews until `lost` is set, and sets it when the lease cannot be held any longer."""
        while not lost.is_set():
            await wait_any(lost, self._reach.lost, timeout_s=self._ttl_s / 3)
            try:
                # A partition answers nothing, for longer than a lease lasts.
                async with asyncio.timeout(max(self._good_until - time.monotonic(), 0.1)):
                    held = await self._hold_or_leave()
            except DATABASE_ERRORS as error:
                log.warning("lease_not_renewed", error=str(error), kind=type(error).__name__)
                held = time.monotonic() < self._good_until and not self._reach.lost.is_set()
            if not held:
                log.warning("lease_lost", holder=self._holder)
                lost.set()

    async def _hold_or_leave(self) -> bool:
        if not self._reach.lost.is_set():
            return await self._renew()
        log.warning("lease_given_back", holder=self._holder, reason="NATS does not answer")
        await self.give_back()
        return False

    async def give_back(self) -> None:
        """A standby may take over at once."""
        mine = (leases.c.name == NAME, leases.c.holder == self._holder)
        async with self._database.write("lease give back") as conn:
            await conn.execute(update(leases).where(*mine).values(until=0.0))

    async def _is_free(self) -> bool:
        """A look that takes no lock: on SQLite every writer stands in the way of the others."""
        held = select(leases.c.name).where(leases.c.name == NAME, ~self._takeable())
        async with self._database.read() as conn:
            return (await conn.execute(held)).first() is None

    async def _renew(self) -> bool:
        """Takes or renews. False: somebody else holds it."""
        asked_at = time.monotonic()
        with suppress(IntegrityError):  # another process made the row at the same time
            if await self._take():
                self._good_until = asked_at + self._ttl_s
                return True
        return False

    async def _take(self) -> bool:
        epoch = case((self._mine(), leases.c.epoch), else_=leases.c.epoch + 1)
        until = unix_now(self._database) + self._ttl_s
        async with self._database.write("lease take") as conn:
            renewed = await conn.execute(
                update(leases)
                .where(leases.c.name == NAME, self._takeable())
                .values(holder=self._holder, epoch=epoch, until=until)
            )
            if renewed.rowcount:
                return True
            if (await conn.execute(select(leases.c.name).where(leases.c.name == NAME))).first():
                return False
            first = {"name": NAME, "holder": self._holder, "epoch": 1}
            await conn.execute(insert(leases).values(**first, until=until))
            return True

    def _mine(self) -> ColumnElement[bool]:
        return leases.c.holder == self._holder

    def _takeable(self) -> ColumnElement[bool]:
        """Ours, run out, or from before the clock was set back."""
        now = unix_now(self._database)
        return or_(self._mine(), leases.c.until < now, leases.c.until > now + 2 * self._ttl_s)
