"""The bus against a real nats-server."""

import asyncio
import signal

import pytest
from nats.js.api import StreamConfig

from batch_common import subjects
from batch_common.bus import Bus, connect
from batch_common.errors import BusUnavailableError, StreamConflictError
from batch_common.pull import Again, Consumer, Delivery, Done, Outcome, Puller, consume
from support.nats_process import NatsProcess
from support.wait import until

CONSUMER = Consumer(
    stream=subjects.CHUNKS, durable="runner-m", filter=subjects.chunks_of("m"), ack_wait_s=1.0
)


async def publish(bus: Bus, chunk: str, generation: int = 1) -> bool:
    ack = await bus.publish(subjects.chunk_ready("m", chunk), b"{}", f"{chunk}:{generation}", {})
    return ack.duplicate


async def fetched(puller: Puller) -> Delivery:
    for _ in range(20):
        try:
            if delivery := await puller.fetch():
                return delivery
        except BusUnavailableError:
            await asyncio.sleep(0.2)
    raise AssertionError("nothing was delivered")


async def test_an_unsettled_message_comes_back(bus: Bus) -> None:
    await publish(bus, "c1")
    puller = Puller(bus, CONSUMER)
    first = await fetched(puller)
    second = await fetched(puller)
    assert (first.subject, first.attempt, second.attempt) == (second.subject, 1, 2)
    assert await second.settle(Done())
    assert not await bus.holds(subjects.CHUNKS, first.subject)


async def test_a_second_message_for_a_queued_chunk_is_refused_quietly(bus: Bus) -> None:
    assert await publish(bus, "c1") is False
    assert await publish(bus, "c1", generation=2) is True
    assert (await bus.stream_head(subjects.CHUNKS)).messages == 1


async def test_nothing_from_before_a_lost_store_is_settled(
    bus: Bus, nats_process: NatsProcess
) -> None:
    """After the loss sequences start again: the old ack would delete the new message."""
    await publish(bus, "old")
    puller = Puller(bus, CONSUMER)
    old = await fetched(puller)
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    await bus.ensure_topology()
    await publish(bus, "new")
    new = await fetched(puller)
    assert new.subject.endswith(".new")
    assert await old.settle(Done()) is False
    assert await bus.holds(subjects.CHUNKS, new.subject)
    assert await new.settle(Done())


async def test_a_killed_server_is_survived(bus: Bus, nats_process: NatsProcess) -> None:
    await publish(bus, "c1")
    puller = Puller(bus, CONSUMER)
    await nats_process.stop(signal.SIGKILL)
    with pytest.raises(BusUnavailableError):
        await publish(bus, "c2")
    await nats_process.start()
    assert (await fetched(puller)).subject.endswith(".c1")


async def test_publishing_after_a_lost_store_makes_the_streams_anew(
    bus: Bus, nats_process: NatsProcess
) -> None:
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    with pytest.raises(BusUnavailableError):
        await publish(bus, "c1")
    assert await publish(bus, "c1") is False


async def test_a_stream_in_the_way_is_named(bus: Bus, nats_process: NatsProcess) -> None:
    await bus.js.delete_stream(subjects.CHUNKS)
    await bus.js.add_stream(StreamConfig(name=subjects.CHUNKS, subjects=["chunk.ready.>"]))
    with pytest.raises(StreamConflictError, match=r"CHUNKS exists.*retention is limits"):
        async with connect(nats_process.settings, "second"):
            pass


async def test_consume_settles_what_its_handler_says(bus: Bus) -> None:
    for chunk in ("a", "b"):
        await publish(bus, chunk)
    seen: list[tuple[str, int]] = []
    stop = asyncio.Event()

    async def handle(delivery: Delivery) -> Outcome:
        seen.append((delivery.subject[-1], delivery.attempt))
        if len(seen) == 3:
            stop.set()
        return Again(0.1) if seen == [("a", 1)] else Done()

    await asyncio.wait_for(consume(Puller(bus, CONSUMER), handle, stop), 10)
    assert sorted(seen) == [("a", 1), ("a", 2), ("b", 1)]
    assert (await bus.stream_head(subjects.CHUNKS)).messages == 0


async def test_requests_are_answered(bus: Bus) -> None:
    async def answer(body: bytes) -> bytes | None:
        return body[::-1]

    async with bus.answering(subjects.CHUNK_CLAIM, "schedulers", answer):
        assert await bus.ask(subjects.CHUNK_CLAIM, b"abc", 2) == b"cba"
    with pytest.raises(BusUnavailableError):
        await bus.ask(subjects.CHUNK_CLAIM, b"abc", 1)
