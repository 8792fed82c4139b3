"""Connections that break, networks that swallow everything, and networks that take their time."""

import asyncio
import random

from chaos.faults.base import Fault
from chaos.network import network_of
from chaos.system import ACK_WAIT_S, System
from support.tcp_proxy import TcpProxy


class OnNetwork(Fault):
    """Lays the proxies before the services start."""

    async def prepare(self, system: System) -> None:
        network = network_of(system)
        if not network.is_laid:
            await network.lay(system.processes, system.nats_ports, system.nats_urls)

    async def finish(self, system: System) -> None:
        await network_of(system).take_up()

    def _between(self, system: System, roles: list[str]) -> list[TcpProxy]:
        network = network_of(system)
        return [proxy for role in roles for proxy in network.of(role)]


class Partition(OnNetwork):
    """A black hole for longer than `ack_wait`, a claim and a lease last.

    A runner that is cut off goes on with what it holds (the whole of NATS may be away, and then
    its work is worth something), while another takes its chunks: all it computes meanwhile is
    computed twice.
    """

    def __init__(self, who: str) -> None:
        self.kind = f"partition {who}"
        self.runners_hit = {"runner": 3, "everybody": 5}.get(who, 0)
        self._who = who

    async def strike(self, system: System, rng: random.Random) -> int:
        everybody = self._who == "everybody"
        roles = [*system.processes] if everybody else [rng.choice(system.roles_of(self._who))]
        for_s = ACK_WAIT_S * rng.uniform(1.2, 2.5)
        async with system.holding(f"network of {self._who}"):
            return await _silence(self._between(system, roles), for_s)


async def _silence(proxies: list[TcpProxy], for_s: float) -> int:
    """How many connections bore it."""
    for proxy in proxies:
        proxy.silence()
    try:
        await asyncio.sleep(for_s)
        return sum(proxy.connections for proxy in proxies)
    finally:
        for proxy in proxies:
            proxy.restore()


class Cut(OnNetwork):
    """Every connection of one role, or of all, breaks at once."""

    kind = "cut connections"
    runners_hit = 1

    async def strike(self, system: System, rng: random.Random) -> int:
        roles = [*system.processes] if rng.random() < 0.3 else [rng.choice([*system.processes])]
        return sum([await proxy.cut() for proxy in self._between(system, roles)])


class Slow(OnNetwork):
    """Each piece takes a while, in both directions."""

    kind = "slow network"
    runners_hit = 1

    async def strike(self, system: System, rng: random.Random) -> int:
        role = rng.choice([*system.processes])
        proxies = self._between(system, [role])
        before = sum(proxy.passed for proxy in proxies)
        for proxy in proxies:
            proxy.delay_s = rng.uniform(0.1, 0.5)
        await asyncio.sleep(rng.uniform(2, 5))
        for proxy in proxies:
            proxy.delay_s = 0.0
        return int(sum(proxy.passed for proxy in proxies) > before)


FAULTS = (
    *(Partition(who) for who in ("gateway", "scheduler", "runner", "sinks", "everybody")),
    Cut(),
    Slow(),
)
