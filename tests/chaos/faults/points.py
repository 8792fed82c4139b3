"""Faults at the places where a process reads, writes, commits, publishes and settles.

Each arms what chaos.point_hook then does in the processes themselves, and counts what it did.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from chaos.control import Fired, Place, PointFault
from chaos.faults.base import Fault
from chaos.system import System

_TURN_S: Final = 0.05
# Work does not stop for so long in a run: a point that was not passed by then will not be.
_PASSED_WITHIN_S: Final = 12.0
_WITH_BLOBS: Final = ("gateway", "scheduler", "runner")
_WITH_ROWS: Final = ("gateway", "scheduler", "sinks")


class AtPoints(Fault):
    """Arms one of the `variants` in one role of `services`, or in all, for a while."""

    def __init__(
        self,
        kind: str,
        services: Sequence[str],
        *variants: Sequence[PointFault],
        hold_s: tuple[float, float] = (1.0, 4.0),
        everywhere: bool = False,
    ) -> None:
        self.kind = kind
        self.runners_hit = int("runner" in services)
        self._services = services
        self._variants = variants
        self._hold_s = hold_s
        self._everywhere = everywhere

    async def strike(self, system: System, rng: random.Random) -> int:
        roles = system.roles_of(rng.choice(self._services))
        chosen = roles if self._everywhere else [rng.choice(roles)]
        faults, hold_s = rng.choice(self._variants), rng.uniform(*self._hold_s)
        struck = (self._strike(system, role, faults, hold_s) for role in chosen)
        return sum(await asyncio.gather(*struck))

    async def _strike(
        self, system: System, role: str, faults: Sequence[PointFault], hold_s: float
    ) -> int:
        control = system.control(role)
        armed = control.arm_all([fresh(fault) for fault in faults])
        try:
            await asyncio.sleep(hold_s)
            await until_fired(system, role, armed)
        finally:
            control.disarm(*armed)
        return len(control.fired(*armed))


class TornWrite(Fault):
    """The process dies while an object is half written."""

    kind = "torn write"
    runners_hit = 1

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice([r for s in _WITH_BLOBS for r in system.roles_of(s)])
        fault = PointFault(point="put *", side="during", skip=rng.randrange(2))
        async with system.holding(role):
            system.processes[role].expect_end(down_s=rng.uniform(0, 0.5))
            [armed] = system.control(role).arm_all([fault])
            try:
                fired = await until_fired(system, role, [armed])
            finally:
                system.control(role).disarm(armed)
            await system.processes[role].running_pid()
        return len(fired)


class StepClock(Fault):
    """One process's wall clock is wrong, by up to an hour, and then right again."""

    kind = "clock step"
    runners_hit = 0

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(list(system.processes))
        control = system.control(role)
        before = len(control.clock_steps())
        control.step_clock(rng.choice((-1, 1)) * rng.choice((2.0, 60.0, 3600.0)))
        try:
            await asyncio.sleep(rng.uniform(2, 8))
        finally:
            control.step_clock(0.0)
        return len(control.clock_steps()) - before


def fresh(fault: PointFault) -> PointFault:
    """The same with an id of its own."""
    return msgspec.structs.replace(fault, id=PointFault(point="").id)


async def until_fired(system: System, role: str, faults: Sequence[PointFault]) -> list[Fired]:
    """Waits for one firing, for as long as it is likely at all."""
    for _ in range(int(_PASSED_WITHIN_S / _TURN_S)):
        if fired := system.control(role).fired(*faults):
            return fired
        await asyncio.sleep(_TURN_S)
    return []


def _raising(
    error: str, *points: str, side: Place = "before", rate: float = 1.0
) -> list[PointFault]:
    return [
        PointFault(point=point, side=side, action="raise", error=error, times=None, rate=rate)  # type: ignore[arg-type]
        for point in points
    ]


# A migration that fails ends its process, as it should; all other commits are tried again.
_COMMITS: Final = "commit [!m]*"

FAULTS: Final = (
    AtPoints(
        "blob error",
        _WITH_BLOBS,
        _raising("blob", "put *", "delete *", "get *", rate=0.5),
        _raising("blob", "put *", side="during"),
    ),
    AtPoints(
        "slow put",
        _WITH_BLOBS,
        [PointFault(point="put *", action="sleep", seconds=2.0, times=None, rate=0.5)],
    ),
    AtPoints(
        "disk full",
        _WITH_BLOBS,
        [*_raising("full", "put *"), *_raising("full", "put *", side="during")],
    ),
    TornWrite(),
    AtPoints(
        "lost ack",
        ("scheduler", "runner"),
        _raising("bus", "ack *"),
        _raising("bus", "ack *", side="after"),
        hold_s=(4.0, 8.0),
    ),
    AtPoints(
        "lost publish ack",
        ("gateway", "scheduler", "runner"),
        _raising("bus", "publish *", side="after"),
        _raising("bus", "publish *"),
    ),
    # Up to more than the time after which runners work without an answer.
    AtPoints(
        "claim unanswered",
        ("scheduler",),
        _raising("bus", "answer chunk.claim"),
        hold_s=(2.0, 13.0),
        everywhere=True,
    ),
    # After the commit nobody knows whether it was made.
    AtPoints(
        "database error",
        _WITH_ROWS,
        _raising("database", _COMMITS, rate=0.5),
        _raising("database", _COMMITS, side="after", rate=0.5),
    ),
    StepClock(),
)
