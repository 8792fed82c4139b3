"""NATS that restarts, and NATS that forgets."""

import asyncio
import random
import shutil
import signal

from chaos.faults.base import Fault
from chaos.system import System


class RestartNats(Fault):
    """Its store survives: every acknowledged message is on disk."""

    needs = frozenset({"single nats"})

    def __init__(self, kind: str, number: signal.Signals) -> None:
        self.kind = f"{kind} nats"
        self._number = number

    async def strike(self, system: System, rng: random.Random) -> int:
        async with system.holding("nats"):
            await system.nats.stop(self._number)
            await asyncio.sleep(rng.uniform(0, 2))
            await system.nats.start()
        return 1


class LoseStore(Fault):
    """The JetStream directory is deleted, between two runs of the server or under a living one."""

    kind = "lose jetstream"
    needs = frozenset({"single nats"})

    def __init__(self, away_s: float = 1.0) -> None:
        """`away_s`: the server is down for so long at most."""
        self._away_s = away_s

    async def strike(self, system: System, rng: random.Random) -> int:
        async with system.holding("nats"):
            under_it = rng.random() < 0.5
            if under_it:
                # It goes on acknowledging what nobody will ever see again.
                await asyncio.to_thread(shutil.rmtree, system.nats.store, ignore_errors=True)
                await asyncio.sleep(rng.uniform(0, 1))
            await system.nats.stop(signal.SIGKILL)
            await asyncio.to_thread(shutil.rmtree, system.nats.store, ignore_errors=True)
            await asyncio.sleep(self._away_s * rng.uniform(0.5, 1))
            await system.nats.start()
        return 1


FAULTS = (
    RestartNats("kill", signal.SIGKILL),
    RestartNats("term", signal.SIGTERM),
    LoseStore(),
)
