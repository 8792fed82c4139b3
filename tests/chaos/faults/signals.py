"""Processes that die, are asked to leave, or stand still for longer than anybody waits for them."""

import random
import signal

from chaos.faults.base import Fault
from chaos.system import ACK_WAIT_S, System

_SERVICES = ("gateway", "scheduler", "runner", "sinks")
# What SIGTERM may take, by the specification.
_LEAVE_S = 30.0
# How often the next fault waits until the process serves again; else it may hit it while it starts.
_LET_START = 0.8


class Kill(Fault):
    """kill -9."""

    def __init__(self, service: str) -> None:
        self.kind = f"kill {service}"
        self.runners_hit = 1 if service == "runner" else 0
        self._service = service

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of(self._service))
        await system.kill(role, down_s=rng.uniform(0, 1.5), up=rng.random() < _LET_START)
        return 1


class Terminate(Fault):
    """SIGTERM, as every rolling restart sends it."""

    runners_hit = 0

    def __init__(self, service: str) -> None:
        self.kind = f"term {service}"
        self._service = service

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of(self._service))
        down_s, up = rng.uniform(0, 0.5), rng.random() < _LET_START
        took_s = await system.restart(role, down_s, up=up)
        if took_s > _LEAVE_S:
            system.complain(f"{role} left only {took_s:.1f} s after SIGTERM")
        return 1


class Freeze(Fault):
    """SIGSTOP for longer than `ack_wait`, then SIGCONT: a zombie comes back."""

    def __init__(self, service: str) -> None:
        self.kind = f"freeze {service}"
        self.runners_hit = 1 if service == "runner" else 0
        self._service = service

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of(self._service))
        await system.stop_continue(role, ACK_WAIT_S * rng.uniform(1.2, 2.5))
        return 1


class HitEngine(Fault):
    """The process behind a runner."""

    runners_hit = 1

    def __init__(self, kind: str, number: signal.Signals) -> None:
        self.kind = f"{kind} engine"
        self._number = number

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice(system.roles_of("runner"))
        freeze_s = ACK_WAIT_S * rng.uniform(1.2, 2.5)
        if self._number is signal.SIGSTOP:
            return int(await system.stop_continue_engine(role, freeze_s))
        return int(await system.signal_engine(role, self._number))


FAULTS = (
    *(Kill(service) for service in _SERVICES),
    *(Terminate(service) for service in _SERVICES),
    *(Freeze(service) for service in _SERVICES),
    HitEngine("kill", signal.SIGKILL),
    HitEngine("term", signal.SIGTERM),
    HitEngine("freeze", signal.SIGSTOP),
)
