"""Messages that come twice, late, and from generations that are over."""

import random
from typing import ClassVar
from weakref import WeakKeyDictionary

from chaos.echo import Echo
from chaos.faults.base import Fault
from chaos.system import System

_ECHOES: "WeakKeyDictionary[System, Echo]" = WeakKeyDictionary()


class Repeat(Fault):
    """Every consumer must take a copy of anything at any time for what it is."""

    runners_hit: ClassVar[int] = 0

    async def prepare(self, system: System) -> None:
        if system not in _ECHOES:
            _ECHOES[system] = Echo(lambda: system.nats_url)
            await _ECHOES[system].start()

    async def finish(self, system: System) -> None:
        if (echo := _ECHOES.pop(system, None)) is not None:
            await echo.stop()


class AtOnce(Repeat):
    kind = "repeat messages at once"

    async def strike(self, system: System, rng: random.Random) -> int:
        return await _ECHOES[system].at_once(rng, rng.uniform(2, 6))


class Later(Repeat):
    kind = "repeat messages later"

    async def strike(self, system: System, rng: random.Random) -> int:
        return await _ECHOES[system].later(rng, rng.randint(5, 60))


FAULTS = (AtOnce(), Later())
