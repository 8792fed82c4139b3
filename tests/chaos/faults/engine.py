"""An engine that answers badly, not at all, or not for long."""

import asyncio
import json
import random
import signal
from pathlib import Path
from typing import Any, Final

from batch_gpu_runner.engines.sim.fault_file import Mode
from chaos.faults.base import Fault
from chaos.system import System
from support.faults import order

# A runner may just have nothing to ask its engine: something comes soon.
_TURNS: Final = 20
_TURN_S: Final = 0.5


class BadAnswers(Fault):
    """Every request, or some of them, for a while; those that met it are in the request log."""

    fails_requests = True
    runners_hit = 0

    def __init__(self, kind: str, mode: Mode, **how: Any) -> None:
        self.kind = f"engine {kind}"
        self._mode: Mode = mode
        self._how = how

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of("runner"))
        file, log = system.fault_file(role), system.request_log(role)
        rate = rng.choice((0.3, 1.0))
        async with system.holding(f"engine of {role}"):
            before = await asyncio.to_thread(_met, log, self._mode)
            order(file, self._mode, rate=rate, **self._how)
            try:
                await asyncio.sleep(rng.uniform(1, 4))
                for _ in range(_TURNS):
                    if met := await asyncio.to_thread(_met, log, self._mode) - before:
                        break
                    await asyncio.sleep(_TURN_S)
            finally:
                order(file, "none")
            return met


class CannotStart(Fault):
    """It dies, and does not come up again for some time."""

    kind = "engine cannot start"
    fails_requests = True
    runners_hit = 1

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of("runner"))
        async with system.holding(f"engine of {role}"):
            order(system.fault_file(role), "no_start")
            try:
                hit = await system.signal_engine(role, signal.SIGKILL)
                await asyncio.sleep(rng.uniform(1, 5))
            finally:
                order(system.fault_file(role), "none")
        return int(hit)


def _met(log: Path, mode: Mode) -> int:
    if not log.exists():
        return 0
    lines = log.read_bytes().splitlines()
    return sum(json.loads(line).get("fault") == mode for line in lines if line.endswith(b"}"))


FAULTS = (
    BadAnswers("5xx", "status", status=503),
    BadAnswers("429", "status", status=429, retry_after_s=1.0),
    BadAnswers("garbage", "garbage"),
    BadAnswers("half a body", "half_body"),
    BadAnswers("hangs", "hang"),
    BadAnswers("closes", "close"),
    BadAnswers("dies", "die"),
    CannotStart(),
)
