"""Deliveries that go well."""

import asyncio
import time

import msgspec
import pytest
from openai import OpenAI
from prometheus_client import REGISTRY

from batch_common.bus import Bus
from batch_common.events import BatchCompleted
from batch_common.subjects import BATCHES
from support.finished import ENDED
from support.receiver import Receiver
from support.wait import until

from .conftest import SECRET, EndBatch, FindRow, InState, Serve, on_sqlite


async def test_every_end_of_a_batch_arrives_once_as_openai_sends_it(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    async with serve():
        batches = {await end_batch(kind): kind for kind in ENDED}
        await until(in_state("delivered", *batches), what="four deliveries")
    assert len(receiver.posts) == 4
    with OpenAI(api_key="sk-test", webhook_secret=SECRET) as client:
        for post in receiver.posts:
            event = client.webhooks.unwrap(post.body, post.headers)
            row = await find_row(event.data.id)
            assert event.type == batches.pop(event.data.id)
            assert (event.object, event.id, event.created_at) == (
                "event",
                row.event_id,
                row.created_at,
            )
            assert list(msgspec.json.decode(post.body)) == [
                "object",
                "id",
                "type",
                "created_at",
                "data",
            ]
            assert row.attempts == 1
            assert row.delivered_at >= row.created_at
            assert (row.claimed_until, row.last_error) == (None, None)
    assert not batches


@on_sqlite
async def test_the_headers(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    async with serve():
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
    headers = receiver.posts[0].headers
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("vllm-batch-server/")
    assert headers["webhook-id"].startswith("wh_")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30
    assert headers["webhook-signature"].startswith("v1,")


@on_sqlite
@pytest.mark.parametrize("status", [201, 202, 204])
async def test_any_2xx_is_success(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState, status: int
) -> None:
    receiver.answer = lambda _: receiver.plain(status)
    async with serve():
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
    assert len(receiver.posts) == 1


async def test_an_event_wakes_the_service_without_the_poll(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    in_state: InState,
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("batch_sinks.deliverer._POLL_S", 600.0)
    async with serve():
        await until(lambda: has_consumer(bus), what="the durable consumer")
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))


@on_sqlite
async def test_the_durable_gets_terminal_events_from_now_on(
    serve: Serve, end_batch: EndBatch, bus: Bus
) -> None:
    async with serve():
        await until(lambda: has_consumer(bus))
    info = await bus.js.consumer_info(BATCHES, "sink-webhook")
    assert sorted(info.config.filter_subjects) == sorted(ENDED)
    assert info.config.deliver_policy == "new"


@on_sqlite
async def test_an_event_without_a_row_is_ignored(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState, bus: Bus
) -> None:
    """The sink was enabled after the batch had ended, or the event is a repeat."""
    async with serve():
        await until(lambda: has_consumer(bus))
        stranger = await end_batch(row=False)
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
        await until(lambda: nothing_left(bus), what="every event settled")
    assert [stranger.encode() in post.body for post in receiver.posts] == [False]


async def test_a_type_the_sink_does_not_take_is_skipped(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    async with serve(events=("batch.failed",)):
        unwanted = await end_batch("batch.completed")
        wanted = await end_batch("batch.failed")
        await until(in_state("delivered", wanted))
        await until(in_state("skipped", unwanted))
    assert [wanted.encode() in post.body for post in receiver.posts] == [True]
    assert (await find_row(unwanted)).delivered_at is None


@on_sqlite
async def test_without_a_secret_it_is_not_signed(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    async with serve(secret=""):
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
    assert "webhook-signature" not in receiver.posts[0].headers
    assert "webhook-id" in receiver.posts[0].headers


async def test_stopping_waits_for_the_attempt_that_runs(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    """A stop between POST and row update must not make a repeat."""
    release = asyncio.Event()
    receiver.before_answer = release.wait
    async with serve() as stop:
        batch_id = await end_batch()
        await until(lambda: len(receiver.posts) == 1, what="the POST")
        stop.set()
        asyncio.get_running_loop().call_later(0.3, release.set)
    assert await in_state("delivered", batch_id)()


async def test_two_services_at_once_deliver_once(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    """Race: both see the same due rows; the claim decides."""
    receiver.before_answer = lambda: asyncio.sleep(0.05)
    batches = [await end_batch() for _ in range(60)]
    async with serve(), serve():
        await until(in_state("delivered", *batches), within_s=30, what="60 deliveries")
    assert len(receiver.posts) == 60
    assert len({post.webhook_id for post in receiver.posts}) == 60
    assert {(await find_row(batch_id)).attempts for batch_id in batches} == {1}


@on_sqlite
async def test_metrics_count_deliveries(
    serve: Serve, end_batch: EndBatch, in_state: InState
) -> None:
    labels = {"sink": "webhook", "outcome": "delivered"}
    name = "vllm_batch_sinks_deliveries_total"
    before = REGISTRY.get_sample_value(name, labels) or 0
    async with serve():
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
    assert REGISTRY.get_sample_value(name, labels) == before + 1


async def has_consumer(bus: Bus) -> bool:
    return any(info.name == "sink-webhook" for info in await bus.js.consumers_info(BATCHES))


async def nothing_left(bus: Bus) -> bool:
    info = await bus.js.consumer_info(BATCHES, "sink-webhook")
    return info.num_pending == 0 and info.num_ack_pending == 0


def test_the_types_are_openais_four() -> None:
    assert set(ENDED) == {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"}
    assert ENDED["batch.completed"] is BatchCompleted
