"""A Postgres that restarts in mid-transaction, and an SQLite file that another process locks."""

import asyncio
import random
import sys
import time
from typing import Final

import asyncpg

from chaos.faults.base import Fault
from chaos.postgres_server import PostgresServer
from chaos.system import System

_OPEN: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
    "AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
)
_WITHIN_S: Final = 3.0
# One restart is over before the next: a database that is never there is another matter.
_BREATH_S: Final = 2.0
_LOCK: Final = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


class RestartPostgres(Fault):
    """Either way every connection breaks, and what is not committed is gone."""

    needs = frozenset({"postgres"})
    runners_hit = 1

    def __init__(self, how: str) -> None:
        self.kind = f"{how} postgres"
        self._kills = how == "kill"

    async def strike(self, system: System, rng: random.Random) -> int:
        server = system.postgres
        assert server is not None
        async with system.holding("postgres"):
            await _until_busy(server)
            await (server.kill() if self._kills else server.stop_at_once())
            await asyncio.sleep(rng.uniform(0, 3))
            await server.start_again()
            await asyncio.sleep(_BREATH_S)
        return 1


async def _until_busy(server: PostgresServer) -> None:
    """Until somebody is in the middle of a transaction, if anybody works at all."""
    conn = await asyncpg.connect(server.url)
    try:
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline:
            if await conn.fetchval(_OPEN):
                return
    finally:
        conn.terminate()


class LockSqlite(Fault):
    """As a backup or a person with a shell does it."""

    kind = "lock sqlite"
    needs = frozenset({"sqlite"})
    runners_hit = 1

    async def strike(self, system: System, rng: random.Random) -> int:
        async with system.holding("sqlite"):
            return await _lock(str(system.data / "batches.db"), rng.uniform(5, 20))


async def _lock(path: str, for_s: float) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LOCK, path, str(for_s), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        said = await process.stdout.readline()
        await process.wait()
    except BaseException:
        process.kill()
        raise
    return int(said == b"locked\n")


FAULTS = (RestartPostgres("restart"), RestartPostgres("kill"), LockSqlite())
