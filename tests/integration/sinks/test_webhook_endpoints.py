"""Endpoints that tenants have made, and URLs that batches name."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from batch_common import clock
from batch_common.bus import Bus
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.events import DeliveryFailed, decode
from batch_common.subjects import DEAD
from batch_sinks.admin import redrive
from support.finished import ENDED
from support.receiver import Post, Receiver
from support.wait import until
from support.webhook_endpoint import SECRET as OWN_SECRET
from support.webhook_endpoint import add_endpoint, set_endpoint

from .conftest import SECRET, EndBatch, FindRow, InState, Serve, Settings, on_sqlite
from .test_failures import PROCESS

EVERY = {"enabled": ()}


def place(endpoint: str) -> str:
    return f"webhook_endpoint/{endpoint}"


def opens(post: Post, secret: str) -> Any:
    """The event, or None where that secret has not signed it."""
    with OpenAI(api_key="sk-test", webhook_secret=secret) as client:
        try:
            return client.webhooks.unwrap(post.body, post.headers)
        except InvalidWebhookSignatureError:
            return None


async def test_each_endpoint_has_its_own_delivery_of_every_end(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    """Nothing is enabled in the configuration."""
    base = receiver.url.removesuffix("/hook")
    endpoints = [await add_endpoint(database, f"{base}/{n}") for n in range(3)]
    sinks = tuple(map(place, endpoints))
    async with serve(handlers=EVERY):
        batches = [await end_batch(kind, sinks=sinks) for kind in ENDED]
        for sink in sinks:
            await until(in_state("delivered", *batches, sink=sink))
    assert sorted(post.path for post in receiver.posts) == sorted(["/0", "/1", "/2"] * 4)
    assert len({post.webhook_id for post in receiver.posts}) == 12
    events = [opens(post, OWN_SECRET) for post in receiver.posts]
    assert {event.type for event in events} == set(ENDED)
    assert len({event.id for event in events}) == 4
    assert not any(opens(post, SECRET) for post in receiver.posts)


async def test_the_url_that_a_batch_names(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    """Signed with the configured secret; whatever the batch's choice of sinks."""
    metadata = {"webhook_url": f"http://127.0.0.1:{receiver.port}/mine?key=1", "sinks": ""}
    async with serve(handlers=EVERY):
        batch_id = await end_batch("batch.expired", sinks=("webhook_url",), metadata=metadata)
        await until(in_state("delivered", batch_id, sink="webhook_url"))
    [post] = receiver.posts
    assert post.path == "/mine"
    assert opens(post, SECRET).type == "batch.expired"


@on_sqlite
async def test_without_a_configured_secret_a_batchs_url_gets_it_unsigned(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    async with serve(handlers=EVERY, secret=""):
        batch_id = await end_batch(sinks=("webhook_url",), metadata={"webhook_url": receiver.url})
        await until(in_state("delivered", batch_id, sink="webhook_url"))
    assert "webhook-signature" not in receiver.posts[0].headers


@on_sqlite
async def test_after_a_rotation_both_secrets_open_it_for_a_day(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    now = clock.timestamp()
    old = [("old", now + 3600), ("older", now - 1)]
    endpoint = await add_endpoint(database, receiver.url, old_secrets=old)
    async with serve():
        batch_id = await end_batch(sinks=(place(endpoint),))
        await until(in_state("delivered", batch_id, sink=place(endpoint)))
    [post] = receiver.posts
    assert post.headers["webhook-signature"].count("v1,") == 2
    assert [bool(opens(post, secret)) for secret in (OWN_SECRET, "old", "older")] == [
        True,
        True,
        False,
    ]


async def test_what_waits_for_a_deleted_endpoint_is_skipped(
    serve: Serve,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    in_state: InState,
    find_row: FindRow,
) -> None:
    """Also what was given up before, and is tried once more."""
    receiver.answer = lambda _: receiver.plain(500)
    endpoint = await add_endpoint(database, receiver.url)
    sink = place(endpoint)
    async with serve(retry_for_s=0.001):
        failed = await end_batch(sinks=(sink,))
        await until(in_state("failed", failed, sink=sink))
    async with serve():
        batch_id = await end_batch(sinks=(sink,))
        await until(lambda: len(receiver.posts) >= 2, what="an attempt")
        await set_endpoint(database, endpoint, deleted_at=clock.timestamp(), secret="", url="")
        await redrive(database)
        await until(in_state("skipped", batch_id, failed, sink=sink))
    assert (await find_row(batch_id, sink)).delivered_at is None


@on_sqlite
async def test_an_attempt_goes_where_the_endpoint_is_by_then(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    base = receiver.url.removesuffix("/hook")
    receiver.answer = lambda post: receiver.plain(200 if post.path == "/right" else 404)
    endpoint = await add_endpoint(database, f"{base}/wrong")
    async with serve():
        batch_id = await end_batch(sinks=(place(endpoint),))
        await until(lambda: bool(receiver.posts), what="an attempt")
        await set_endpoint(database, endpoint, url=f"{base}/right", secret="new")
        await until(in_state("delivered", batch_id, sink=place(endpoint)))
    assert len({post.webhook_id for post in receiver.posts}) == 1
    assert opens(receiver.posts[-1], "new")


@on_sqlite
async def test_another_tenants_endpoint_gets_nothing(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    """Rows as no scheduler writes them."""
    endpoint = await add_endpoint(database, receiver.url, tenant="another")
    async with serve():
        batch_id = await end_batch(sinks=(place(endpoint),))
        await until(in_state("skipped", batch_id, sink=place(endpoint)))
    assert receiver.posts == []


@on_sqlite
async def test_an_event_that_an_endpoint_does_not_take_any_more_is_skipped(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    endpoint = await add_endpoint(database, receiver.url, event_types=["batch.failed"])
    async with serve():
        batch_id = await end_batch(sinks=(place(endpoint),))
        await until(in_state("skipped", batch_id, sink=place(endpoint)))


@on_sqlite
async def test_switched_off_everything_that_waits_is_skipped(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    endpoint = await add_endpoint(database, receiver.url)
    async with serve(by_api=False):
        batch_id = await end_batch(
            sinks=(place(endpoint), "webhook_url"), metadata={"webhook_url": receiver.url}
        )
        await until(in_state("skipped", batch_id, sink=place(endpoint)))
        await until(in_state("skipped", batch_id, sink="webhook_url"))
    assert receiver.posts == []


@on_sqlite
@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("webhook", ("first", "second")),
        ("postgres,webhook", ("first", "second")),
        ("{first}", ("first",)),
        ("postgres", ()),
        ("", ()),
    ],
)
async def test_a_batch_chooses_among_endpoints(
    serve: Serve,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    choice: str,
    wanted: tuple[str, ...],
) -> None:
    ids = {name: await add_endpoint(database, receiver.url) for name in ("first", "second")}
    sinks = tuple(map(place, ids.values()))
    async with serve():
        batch_id = await end_batch(sinks=sinks, metadata={"sinks": choice.format(**ids)})
        for name, endpoint in ids.items():
            state = "delivered" if name in wanted else "skipped"
            await until(in_state(state, batch_id, sink=place(endpoint)))
    assert len(receiver.posts) == len(wanted)


@on_sqlite
async def test_many_that_hang_at_one_endpoint_hold_up_no_other(
    serve: Serve, receiver: Receiver, database: Database, end_batch: EndBatch, in_state: InState
) -> None:
    """More of them than there are attempts side by side."""
    base = receiver.url.removesuffix("/hook")
    release = asyncio.Event()

    def before_answer() -> Awaitable[object]:
        return release.wait() if receiver.posts[-1].path == "/hangs" else asyncio.sleep(0)

    receiver.before_answer = before_answer
    hangs = await add_endpoint(database, f"{base}/hangs")
    works = await add_endpoint(database, f"{base}/works")
    for _ in range(70):
        await end_batch(sinks=(place(hangs),))
    async with serve(timeout_s=40.0):
        await until(lambda: bool(receiver.posts), what="those that hang")
        others = [await end_batch(sinks=(place(works),)) for _ in range(3)]
        await until(in_state("delivered", *others, sink=place(works)), within_s=30)
        assert sum(post.path == "/hangs" for post in receiver.posts) < 32
        release.set()


@on_sqlite
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"allow_http": False}, "it must begin with https://"),
        ({"allow_private": False}, "is not on the public internet"),
    ],
)
async def test_the_configuration_of_now_is_what_counts(
    serve: Serve,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    setting: dict[str, bool],
    words: str,
) -> None:
    """It was stricter when they were made."""
    endpoint = await add_endpoint(database, receiver.url)
    metadata = {"webhook_url": receiver.url}
    async with serve(retry_for_s=0.001, handlers=EVERY, **setting):
        batch_id = await end_batch(sinks=(place(endpoint), "webhook_url"), metadata=metadata)
        for sink in (place(endpoint), "webhook_url"):
            await until(in_state("failed", batch_id, sink=sink))
            assert words in (await find_row(batch_id, sink)).last_error
    assert receiver.posts == []


@on_sqlite
async def test_nothing_secret_gets_into_rows_logs_or_dead_messages(
    settings: Settings,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    tmp_path: Path,
    bus: Bus,
) -> None:
    url = f"http://127.0.0.1:{receiver.port}/hook/T0ken?key=hunter3"
    receiver.answer = lambda _: receiver.broken()
    endpoint = await add_endpoint(database, url)
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings(retry_for_s=0.001)))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, path], stderr=subprocess.PIPE)
    try:
        batch_id = await end_batch(sinks=(place(endpoint),))
        await until(in_state("failed", batch_id, sink=place(endpoint)), within_s=20)
        await until(lambda: bus.holds(DEAD, "dead.webhook_endpoint"))
    finally:
        process.terminate()
        _, errors = await asyncio.to_thread(process.communicate, None, 20)
    assert process.returncode == 0
    message = await bus.js.get_last_msg(DEAD, "dead.webhook_endpoint")
    said = decode(message.data or b"", DeliveryFailed)
    assert (said.sink, said.endpoint) == ("webhook_endpoint", endpoint)
    everything = f"{errors.decode()} {await find_row(batch_id, place(endpoint))} {message.data!r}"
    assert "delivery_given_up" in everything
    for secret in (OWN_SECRET, OWN_SECRET[6:], SECRET, "hunter3", "T0ken"):
        assert secret not in everything
