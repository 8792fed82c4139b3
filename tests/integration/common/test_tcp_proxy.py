"""The proxy that stands for a broken network, and what our connection makes of it."""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from batch_common.bus import Bus, connect
from batch_common.errors import BusUnavailableError
from batch_common.secret import Secret
from batch_common.subjects import BATCHES
from support.nats_process import NatsProcess
from support.tcp_proxy import TcpProxy
from support.wait import until


@pytest.fixture
async def proxy(nats_process: NatsProcess) -> AsyncIterator[TcpProxy]:
    between = TcpProxy(nats_process.port)
    await between.start()
    yield between
    await between.stop()


@pytest.fixture
async def behind(proxy: TcpProxy, nats_process: NatsProcess) -> AsyncIterator[Bus]:
    settings = msgspec.structs.replace(nats_process.settings, url=Secret(proxy.url))
    async with connect(settings, "behind") as bus:
        yield bus


async def answers(bus: Bus) -> bool:
    try:
        await bus.stream_head(BATCHES)
    except BusUnavailableError:
        return False
    return True


async def test_a_cut_connection_is_made_again(proxy: TcpProxy, behind: Bus) -> None:
    assert await proxy.cut() == 1
    await until(lambda: answers(behind), what="NATS again")
    assert proxy.accepted == 2
    assert behind.epoch == 1


async def test_nothing_passes_while_it_is_silent_and_everything_afterwards(
    proxy: TcpProxy, behind: Bus
) -> None:
    async with proxy.silent():
        passed = proxy.passed
        asking = asyncio.create_task(behind.stream_head(BATCHES))
        await asyncio.wait({asking}, timeout=0.5)
        assert not asking.done()
        assert proxy.passed == passed
    assert (await asking).messages == 0
    assert proxy.accepted == 1


async def test_a_delay_is_felt(proxy: TcpProxy, behind: Bus) -> None:
    proxy.delay_s = 0.2
    began = time.monotonic()
    await behind.stream_head(BATCHES)
    assert time.monotonic() - began >= 0.4


@pytest.mark.faults
async def test_a_silent_server_is_given_up_for_another(
    proxy: TcpProxy, nats_process: NatsProcess
) -> None:
    """A machine that is gone breaks no connection: only unanswered pings tell of it."""
    other = TcpProxy(nats_process.port)
    await other.start()
    urls = Secret(f"{proxy.url},{other.url}")
    try:
        async with connect(msgspec.structs.replace(nats_process.settings, url=urls), "both") as bus:
            used, spare = (proxy, other) if proxy.accepted else (other, proxy)
            used.silence()
            await until(lambda: answers(bus), within_s=40, what="the other server")
            assert spare.accepted == 1
    finally:
        await other.stop()
