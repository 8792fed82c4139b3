"""The first connection to NATS, and what it says when there is none."""

import asyncio
import time
from pathlib import Path

import pytest

from batch_common.bus import Bus, connect, connect_at_start
from batch_common.config import Nats
from batch_common.errors import BusUnavailableError, ConfigError, StartError
from batch_common.pull import Consumer, Puller
from batch_common.secret import Secret
from batch_common.subjects import BATCHES
from support.nats_process import NatsProcess
from support.ports import free_port
from support.wait import until


def nowhere() -> Nats:
    return Nats(url=Secret(f"nats://user:hunter2@127.0.0.1:{free_port()}"))


async def test_without_a_server_the_reason_is_said_soon() -> None:
    """Left to itself nats-py tries the first connection for ever."""
    async with asyncio.timeout(10):
        with pytest.raises(BusUnavailableError, match="ConnectionRefusedError") as raised:
            await connect(nowhere(), "test").__aenter__()
    assert "hunter2" not in str(raised.value)


async def test_a_service_waits_for_a_server_that_comes(tmp_path: Path) -> None:
    process = NatsProcess(tmp_path)
    stop = asyncio.Event()

    async def use() -> int:
        async with connect_at_start(process.settings, "test", stop) as bus:
            return (await bus.stream_head(BATCHES)).messages

    task = asyncio.create_task(use())
    await asyncio.sleep(0.5)
    await process.start()
    try:
        assert await asyncio.wait_for(task, 15) == 0
    finally:
        await process.stop()


async def test_a_service_without_a_server_leaves_with_what_to_do() -> None:
    with pytest.raises(StartError, match=r"could not connect.*set nats\.url") as raised:
        await connect_at_start(nowhere(), "test", asyncio.Event(), within_s=0.5).__aenter__()
    assert "hunter2" not in str(raised.value)


async def test_a_service_that_is_stopped_waits_no_longer() -> None:
    stop = asyncio.Event()
    stop.set()
    began = time.monotonic()
    with pytest.raises(StartError):
        await connect_at_start(nowhere(), "test", stop).__aenter__()
    assert time.monotonic() - began < 10


async def test_after_the_first_connect_reconnecting_never_ends(
    bus: Bus, nats_process: NatsProcess
) -> None:
    """Longer away than all the tries of a first connect take."""
    await nats_process.stop()
    await asyncio.sleep(3.5)
    await nats_process.start()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    assert (await bus.stream_head(BATCHES)).messages == 0


async def test_a_service_whose_connection_the_server_ends_leaves_to_start_again(
    nats_process: NatsProcess,
) -> None:
    """nats-py never reconnects after such an end: the service would go on without NATS."""
    stop = asyncio.Event()

    async def serve() -> None:
        async with connect_at_start(nats_process.settings, "test", stop) as bus:
            bus.client._transport.write(b"NONSENSE\r\n")
            await asyncio.wait_for(stop.wait(), 10)

    with pytest.raises(StartError, match="unknown protocol operation"):
        await serve()


async def test_two_kinds_of_credentials_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match=r"nats\.credentials or nats\.user"):
        await connect(Nats(user="u", credentials="/x.creds"), "test").__aenter__()


async def test_a_consumer_of_several_subjects_gets_those(bus: Bus) -> None:
    wanted = Consumer(
        stream=BATCHES, durable="d", filter=("batch.failed", "batch.expired"), ack_wait_s=30.0
    )
    for kind in ("submitted", "failed", "completed", "expired"):
        await bus.publish(f"batch.{kind}", b"{}", kind, {})
    puller = Puller(bus, wanted)
    found = [await puller.fetch(), await puller.fetch()]
    assert [delivery and delivery.subject for delivery in found] == [
        "batch.failed",
        "batch.expired",
    ]
    again = Puller(bus, wanted)
    await again.fetch()  # binds to the same durable: nothing to change
    info = await bus.js.consumer_info(BATCHES, "d")
    assert sorted(info.config.filter_subjects) == ["batch.expired", "batch.failed"]
    assert info.num_pending == 0


async def test_a_consumer_that_starts_new_gets_nothing_from_before(
    bus: Bus,
) -> None:
    await bus.publish("batch.failed", b"{}", "before", {})
    puller = Puller(
        bus,
        Consumer(
            stream=BATCHES,
            durable="d",
            filter="batch.failed",
            ack_wait_s=30.0,
            only_new=True,
            fetch_s=0.3,
        ),
    )
    assert await puller.fetch() is None
    await bus.publish("batch.failed", b"{}", "after", {})
    found = await puller.fetch()
    assert found is not None
    assert found.headers["Nats-Msg-Id"] == "after"
