"""Roles behind a network that swallows everything, for longer than messages and claims last."""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from batch_common.bus import connect
from batch_common.subjects import BATCHES
from chaos.faults.network import Partition
from chaos.network import network_of
from chaos.one_batch import OneBatch
from chaos.system import ACK_WAIT_S, FLUSH_S, ROLES, WINDOW, Options, System
from support.wait import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

StartSystem = Callable[..., Awaitable[System]]
RATE = 15
LINES = 400
LONGEST_S = ACK_WAIT_S * 2.5
# Answered since the last flush: twice the interval, for a slow disk.
UNSAVED = WINDOW + RATE * 2 * FLUSH_S
# A runner that is cut off goes on with what it holds, and so does the one that takes it over.
TWICE = {"runner": UNSAVED + RATE * LONGEST_S, "everybody": 2 * (UNSAVED + RATE * LONGEST_S)}


@pytest.fixture
async def start_system(tmp_path: Path) -> AsyncIterator[StartSystem]:
    """`await start_system("gateway", …)`: only these roles, or all."""
    started: list[System] = []

    async def start(*roles: str) -> System:
        engine = {"requests_per_s": str(RATE)}
        system = System(Options(folder=tmp_path, engine=engine, roles=roles or ROLES))
        started.append(system)
        await system.start_stores()
        await network_of(system).lay(system.processes, system.nats_ports, system.nats_urls)
        await system.start_services()
        return system

    yield start
    for system in started:
        await system.stop()
        await network_of(system).take_up()
        await system.stop_stores()


@pytest.mark.parametrize("who", ["runner", "scheduler", "everybody"])
async def test_a_batch_survives_a_partition(start_system: StartSystem, who: str) -> None:
    system = await start_system()
    batch = OneBatch(system, LINES)
    await batch.hand_in()
    await batch.computed(LINES // 10)
    assert await Partition(who).strike(system, random.Random(3))
    await batch.completed()
    served = batch.served()
    print(f"\npartition of {who}: {served.repeated} of {LINES} requests computed again")
    assert len(served.counted) == LINES
    assert served.repeated <= TWICE.get(who, UNSAVED)
    assert [end for process in system.processes.values() for end in process.ended] == []


async def test_a_batch_that_a_cut_off_gateway_takes_in_is_published_later(
    start_system: StartSystem,
) -> None:
    """Rows are the truth: the event waits in the outbox until somebody reaches NATS."""
    system = await start_system("gateway")
    [proxy] = network_of(system).of("gateway")
    async with connect(system.nats.settings, "test") as bus:
        await until(lambda: proxy.passed > 0, what="a gateway at work")
        proxy.silence()
        passed = proxy.passed
        batch = OneBatch(system, 5)
        await batch.hand_in()
        assert (await bus.stream_head(BATCHES)).messages == 0
        assert proxy.passed == passed
        proxy.restore()

        async def told() -> bool:
            return (await bus.stream_head(BATCHES)).messages > 0

        await until(told, within_s=40, what="batch.submitted")
        message = await bus.js.get_last_msg(BATCHES, "batch.submitted")
        assert json.loads(message.data or b"")["batch_id"].startswith("batch_")
        assert (await bus.stream_head(BATCHES)).messages == 1
    await batch.close()
