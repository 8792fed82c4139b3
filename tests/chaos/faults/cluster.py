"""A NATS cluster of three that loses a node, any or the one that leads."""

import asyncio
import random

from batch_common import subjects
from chaos.faults.base import Fault
from chaos.system import System
from support.nats_cluster import META, NatsCluster, Node

_LED = (subjects.CHUNKS, subjects.RESULTS, subjects.BATCHES, f"KV_{subjects.RUNNERS_BUCKET}", META)


class LoseNode(Fault):
    """kill -9; the others elect. It comes back, and catches up, before the next one is lost."""

    needs = frozenset({"cluster"})
    runners_hit = 1

    def __init__(self, which: str) -> None:
        self.kind = f"lose nats {which}"
        self._leader = which == "leader"

    async def strike(self, system: System, rng: random.Random) -> int:
        cluster = system.cluster
        assert cluster is not None
        led, any_node = rng.choice(_LED), rng.choice(cluster.nodes)
        async with system.holding("nats"):
            node = await cluster.leader_of(led) if self._leader else any_node
            return await lose(cluster, node, rng.uniform(1, 4))


async def lose(cluster: NatsCluster, node: Node, for_s: float) -> int:
    """Away for so long; returns when it is up to date again."""
    await cluster.kill(node)
    await asyncio.sleep(for_s)
    await cluster.bring_back(node)
    return 1


FAULTS = (LoseNode("node"), LoseNode("leader"))
