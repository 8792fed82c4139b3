"""Three NATS servers that keep every stream thrice, and what their losses cost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from batch_common import subjects
from batch_common.bus import connect, connect_at_start
from batch_common.topology import streams
from chaos.faults.cluster import lose
from chaos.one_batch import OneBatch
from chaos.system import FLUSH_S, WINDOW, Options, System
from support.nats_cluster import META, NatsCluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

RATE = 12
LINES = 1000
BUCKET = f"KV_{subjects.RUNNERS_BUCKET}"
# Answered since the last flush: twice the interval, for a slow disk.
UNSAVED = WINDOW + RATE * 2 * FLUSH_S


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    made = NatsCluster(tmp_path / "nats")
    yield made
    await made.stop()


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Not started."""
    engine = {"requests_per_s": str(RATE)}
    made = System(Options(folder=tmp_path, nats="cluster", engine=engine))
    yield made
    await made.stop()
    await made.stop_stores()


async def test_services_that_start_at_once_on_electing_servers_make_the_streams_once(
    cluster: NatsCluster,
) -> None:
    """Race: each finds no stream, asks the same servers for it, and some of them time out."""
    cluster.launch()

    async def start(name: str) -> str:
        async with connect_at_start(cluster.settings, name, asyncio.Event(), within_s=60) as bus:
            return (await bus.stream_head(subjects.CHUNKS)).created

    created = await asyncio.gather(*(start(f"service-{number}") for number in range(8)))
    assert len(set(created)) == 1
    async with connect(cluster.settings, "test") as bus:
        for name in [*(stream.name for stream in streams(3)), BUCKET]:
            assert (await bus.js.stream_info(name or "")).config.num_replicas == 3


async def test_a_server_that_grew_to_a_cluster_gets_its_copies(cluster: NatsCluster) -> None:
    """Streams from before the setting was raised hold what the cluster is to keep safe."""
    await cluster.start()
    alone = msgspec.structs.replace(cluster.settings, replicas=1)
    async with connect(alone, "before") as bus:
        await bus.publish(subjects.chunk_ready("m", "c"), b"{}", "c:1", {})
    async with connect(cluster.settings, "after") as bus:
        for name in (subjects.CHUNKS, BUCKET):
            assert (await bus.js.stream_info(name)).config.num_replicas == 3
        assert await bus.holds(subjects.CHUNKS, subjects.chunk_ready("m", "c"))
    async with connect(alone, "an old configuration") as bus:
        assert (await bus.js.stream_info(subjects.CHUNKS)).config.num_replicas == 3


async def test_a_batch_survives_the_loss_of_every_kind_of_leader(system: System) -> None:
    """The services start while the servers still elect; then one server after another goes."""
    cluster = system.cluster
    assert cluster is not None
    cluster.launch()
    await system.start_services()
    batch = OneBatch(system, LINES)
    await batch.hand_in()
    await batch.computed(LINES // 20)
    await cluster.start()
    losses = [cluster.nodes[0]]
    await lose(cluster, losses[0], 3)
    for led in (subjects.CHUNKS, subjects.RESULTS, META):
        losses.append(await cluster.leader_of(led))
        await lose(cluster, losses[-1], 3)
    done = len(batch.served().counted)
    await batch.completed(within_s=200)
    served = batch.served()
    print(
        f"\nlost {', '.join(node.name for node in losses)} (any, leaders of CHUNKS, RESULTS, meta)"
        f" in the first {done} of {LINES} requests; {served.repeated} computed again"
    )
    assert done < LINES, "the batch was through before the last server was lost"
    assert len(served.counted) == LINES
    # At each loss deliveries may pass to the other runner.
    assert served.repeated <= UNSAVED * len(losses)
    assert system.complaints == []
    assert [end for process in system.processes.values() for end in process.ended] == []
