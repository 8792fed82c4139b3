"""`client.webhooks` of the `openai` package, unmodified."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from sqlalchemy import insert, select, text

from batch_common.config import Sinks, Webhook
from batch_common.tables import deliveries, idempotency_keys, webhook_endpoints
from batch_gateway.webhook_store import MOST
from batch_sinks import wake
from batch_sinks.app import run as run_sinks
from batch_sinks.wake import consumer
from support.gateway import CHAT, make_batch
from support.receiver import Receiver
from support.wait import until

URL = "https://example.com/hooks"
FOUR = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
WANTED: Any = {"name": "mine", "url": URL, "event_types": ["batch.completed", "batch.failed"]}


@pytest.fixture
async def client(served: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    await server.start()
    yield server
    await server.stop()


async def test_an_endpoints_life(client: AsyncOpenAI) -> None:
    made = await client.webhooks.create(**WANTED)
    assert (made.object, made.name, made.url) == ("webhook_endpoint", "mine", URL)
    assert made.event_types == ["batch.completed", "batch.failed"]
    assert made.updated_at == made.created_at
    assert made.signing_secret.startswith("whsec_")
    assert len(made.signing_secret) == 6 + 44
    assert made.signing_secret_hint
    assert made.signing_secret_hint[-4:] in made.signing_secret

    found = await client.webhooks.retrieve(made.id)
    assert found.model_dump() == made.model_dump(exclude={"signing_secret"})
    changed = await client.webhooks.update(made.id, name="ours", event_types=["batch.expired"])
    assert (changed.name, changed.url, changed.event_types) == ("ours", URL, ["batch.expired"])
    assert await client.webhooks.retrieve(made.id) == changed

    gone = await client.webhooks.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "webhook_endpoint.deleted", True)
    for ask in (
        lambda: client.webhooks.retrieve(made.id),
        lambda: client.webhooks.update(made.id, name="x"),
        lambda: client.webhooks.rotate_secret(made.id),
        lambda: client.webhooks.test(made.id, event_type="batch.failed"),
        lambda: client.webhooks.delete(made.id),
    ):
        with pytest.raises(NotFoundError, match="No webhook endpoint found with id"):
            await ask()


async def test_event_types(client: AsyncOpenAI) -> None:
    listed = await client.webhooks.event_types.list()
    assert (listed.object, listed.data) == ("list", FOUR)


async def test_lists_come_in_pages_the_newest_first(client: AsyncOpenAI) -> None:
    ids = [(await client.webhooks.create(**WANTED)).id for _ in range(23)]
    first = await client.webhooks.list()
    assert [found.id for found in first.data] == ids[:2:-1]
    assert first.has_more
    walked = []
    async for found in client.webhooks.list(limit=5):
        walked.append(found.id)
        assert "signing_secret" not in found.model_dump()
        await client.webhooks.delete(found.id)
    assert walked == ids[::-1]
    assert (await client.webhooks.list()).data == []
    with pytest.raises(BadRequestError, match="limit must be between 1 and 100"):
        await client.webhooks.list(limit=101)


async def test_rotation(client: AsyncOpenAI, served: Any) -> None:
    made = await client.webhooks.create(**WANTED)
    secrets = [made.signing_secret]
    for _ in range(5):
        turned = await client.webhooks.rotate_secret(
            made.id, keep_old_secret_active_for_24_hours=True
        )
        assert turned.updated_at is not None
        secrets.append(turned.signing_secret)
    assert len(set(secrets)) == 6
    row = await row_of(served, made.id)
    assert row.secret == secrets[-1]
    assert [old["secret"] for old in row.old_secrets] == secrets[-2:-5:-1]
    assert 86000 < row.old_secrets[0]["until"] - row.updated_at <= 86400
    last = await client.webhooks.rotate_secret(made.id)
    row = await row_of(served, made.id)
    assert (row.secret, row.old_secrets) == (last.signing_secret, [])


async def test_an_update_that_changes_nothing_is_none(client: AsyncOpenAI, served: Any) -> None:
    made = await client.webhooks.create(**WANTED)
    async with served.database.write("in a test") as conn:
        await conn.execute(text("UPDATE webhook_endpoints SET updated_at = 5"))
    assert (await client.webhooks.update(made.id, name="mine", url=URL)).updated_at == 5
    assert (await client.webhooks.update(made.id, name="x")).updated_at >= made.created_at


async def test_a_creation_that_is_sent_again_makes_one(client: AsyncOpenAI, served: Any) -> None:
    key = {"Idempotency-Key": "k-1"}
    made = await client.webhooks.create(**WANTED, extra_headers=key)
    assert await client.webhooks.create(**WANTED, extra_headers=key) == made
    turn = {"Idempotency-Key": "k-2"}
    turned = await client.webhooks.rotate_secret(made.id, extra_headers=turn)
    assert await client.webhooks.rotate_secret(made.id, extra_headers=turn) == turned
    async with served.database.read() as conn:
        assert len((await conn.execute(select(webhook_endpoints))).all()) == 1
        assert len((await conn.execute(select(idempotency_keys))).all()) == 2


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"url": "http://example.com"}, "url", "must begin with https://"),
        ({"url": "https://10.0.0.1/"}, "url", "not on the public internet"),
        ({"url": "https://localhost/"}, "url", "not on the public internet"),
        ({"url": "example.com"}, "url", "of the form https://host/path"),
        ({"url": "https://xn--/"}, "url", "of the form https://host/path"),
        ({"url": "https://us%3Aer:pw@example.com/"}, "url", "must not hold a user or password"),
        ({"url": "https://example.com/" + "x" * 2048}, "url", "at most 2048"),
        ({"url": 5}, "url", "expected a string"),
        ({"name": ""}, "name", "1 to 256 characters"),
        ({"name": "x" * 257}, "name", "1 to 256 characters"),
        ({"event_types": []}, "event_types", "one event type at least"),
        ({"event_types": "batch.failed"}, "event_types", "expected an array"),
        ({"event_types": ["response.completed"]}, "event_types[0]", "'batch.cancelled'"),
    ],
)
async def test_what_is_wrong_is_said(
    client: AsyncOpenAI, changes: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(BadRequestError, match=words) as raised:
        await client.webhooks.create(**WANTED | changes)
    assert raised.value.param == param
    made = await client.webhooks.create(**WANTED)
    with pytest.raises(BadRequestError, match=words):
        await client.webhooks.update(made.id, **changes)
    assert (await client.webhooks.retrieve(made.id)).url == URL


@pytest.mark.parametrize("missing", ["name", "url", "event_types"])
async def test_what_is_missing_is_named(served: Any, missing: str) -> None:
    body = {name: value for name, value in WANTED.items() if name != missing}
    answer = await served.http.post("/v1/webhook_endpoints", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, missing)


async def test_a_tenant_has_a_limited_number(client: AsyncOpenAI, served: Any) -> None:
    made = await client.webhooks.create(**WANTED)
    row = (await row_of(served, made.id))._asdict()
    async with served.database.write("in a test") as conn:
        more = [{**row, "id": f"we_{n}"} for n in range(MOST - 1)]
        await conn.execute(insert(webhook_endpoints), more)
    with pytest.raises(BadRequestError, match="delete one") as raised:
        await client.webhooks.create(**WANTED)
    assert raised.value.code == "too_many_webhook_endpoints"
    await client.webhooks.delete(made.id)
    assert (await client.webhooks.create(**WANTED)).id


async def test_another_tenants_endpoint_looks_like_an_unknown_one(two_tenants: Any) -> None:
    base = f"{two_tenants.url}/v1"
    async with (
        AsyncOpenAI(base_url=base, api_key="sk-a", max_retries=0) as a,
        AsyncOpenAI(base_url=base, api_key="sk-b", max_retries=0) as b,
    ):
        mine = (await a.webhooks.create(**WANTED)).id
        assert (await b.webhooks.list()).data == []
        for ask in (
            b.webhooks.retrieve,
            lambda identifier: b.webhooks.update(identifier, name="x"),
            b.webhooks.rotate_secret,
            lambda identifier: b.webhooks.test(identifier, event_type="batch.failed"),
            b.webhooks.delete,
        ):
            said = []
            for identifier in (mine, "we_unknown"):
                with pytest.raises(NotFoundError) as raised:
                    await ask(identifier)
                said.append(raised.value.message.replace(identifier, ""))
            assert said[0] == said[1]
        with pytest.raises(NotFoundError):
            await b.webhooks.list(after=mine)
        assert (await a.webhooks.retrieve(mine)).name == "mine"


async def test_no_secret_is_shown_twice_or_logged(
    client: AsyncOpenAI, served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the log either when the database refuses the row, whose error holds what was sent."""
    made = await client.webhooks.create(**WANTED)
    async with served.database.write("in a test") as conn:
        await conn.execute(text("ALTER TABLE webhook_endpoints RENAME COLUMN old_secrets TO other"))
    with pytest.raises(InternalServerError):
        await client.webhooks.rotate_secret(made.id)
    async with served.database.write("in a test") as conn:
        await conn.execute(text("ALTER TABLE webhook_endpoints RENAME COLUMN other TO old_secrets"))
    shown = await served.http.get(f"/v1/webhook_endpoints/{made.id}")
    listed = await served.http.get("/v1/webhook_endpoints")
    logged = capsys.readouterr()
    everything = shown.text + listed.text + logged.out + logged.err
    assert "request_failed" in everything
    assert "whsec_" in everything  # the hint
    assert "parameters: [" not in everything
    assert made.signing_secret[6:] not in everything


# Deliveries that wait


async def test_a_change_of_the_url_and_a_deletion_hurry_what_waits(
    client: AsyncOpenAI, served: Any
) -> None:
    """Else it would wait for its next try, for an hour at most."""
    made = await client.webhooks.create(**WANTED)
    await add_delivery(served, made.id, next_at=9e9)
    await client.webhooks.update(made.id, name="x")
    assert (await next_at(served)) == 9e9
    await client.webhooks.update(made.id, url=URL + "/2")
    assert (await next_at(served)) < 8e9
    async with served.database.write("in a test") as conn:
        await conn.execute(text("UPDATE deliveries SET next_at = 9e9"))
    await client.webhooks.delete(made.id)
    assert (await next_at(served)) < 8e9
    row = await row_of(served, made.id)
    assert (row.secret, row.old_secrets, row.url) == ("", [], "")


# A batch's own URL


async def test_a_batch_may_name_a_url(served: Any) -> None:
    batch = await make_batch(served.http, metadata={"webhook_url": URL})
    assert batch["metadata"] == {"webhook_url": URL}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://xn--/",
        "https://Ł:pw@example.com/",
        "nonsense",
        "",
    ],
)
async def test_a_url_that_no_webhook_could_go_to_is_refused_at_once(served: Any, url: str) -> None:
    body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
    answer = await served.http.post("/v1/batches", json=body | {"metadata": {"webhook_url": url}})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (
        400,
        "metadata.webhook_url",
        "invalid_value",
    )


async def test_switched_off_neither_is_possible(serve: Any) -> None:
    served = await serve(sinks=Sinks(webhook=Webhook(by_api=False)))
    async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        for ask in (lambda: client.webhooks.create(**WANTED), client.webhooks.list):
            with pytest.raises(PermissionDeniedError, match="switched off"):
                await ask()
        assert (await client.webhooks.event_types.list()).data == []
        with pytest.raises(BadRequestError, match="switched such webhooks off"):
            await client.batches.create(
                input_file_id="file-x",
                endpoint=CHAT,
                completion_window="24h",
                metadata={"webhook_url": URL},
            )


# The test route, with a sinks service


async def test_a_sample_is_sent_by_the_sinks_service(
    serve: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = lambda sink: msgspec.structs.replace(consumer(sink), fetch_s=0.3)  # noqa: E731
    monkeypatch.setattr(wake, "consumer", short)
    settings = Sinks(webhook=Webhook(allow_http=True, allow_private=True, timeout_s=1.0))
    served = await serve(sinks=settings)
    stop = asyncio.Event()
    sinks = asyncio.create_task(run_sinks(served.config, stop))
    base = receiver.url.removesuffix("/hook")
    try:
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            made = await client.webhooks.create(**WANTED | {"url": f"{base}/hook"})
            await until(lambda: answers(client, made.id), what="a sinks service that answers")
            receiver.posts.clear()
            for kind in FOUR:
                tried = await client.webhooks.test(made.id, event_type=kind)  # type: ignore[arg-type]
                assert (tried.object, tried.success) == ("webhook_endpoint.test", True)
                assert (tried.webhook_endpoint_id, tried.event_type) == (made.id, kind)
                assert tried.status_code == 200
            for post, kind in zip(receiver.posts, FOUR, strict=True):
                event = client.webhooks.unwrap(post.body, post.headers, secret=made.signing_secret)
                assert event.type == kind
            assert len({post.webhook_id for post in receiver.posts}) == 4

            receiver.answer = lambda _: receiver.plain(503)
            tried = await client.webhooks.test(made.id, event_type="batch.failed")
            assert (tried.success, tried.status_code) == (True, 503)
            receiver.answer = lambda _: None
            with pytest.raises(BadRequestError, match="no answer within 1 s") as raised:
                await client.webhooks.test(made.id, event_type="batch.failed")
            assert raised.value.code == "webhook_endpoint_unreachable"
            assert len(receiver.posts) == 6

            three = (client.webhooks.test(made.id, event_type="batch.failed") for _ in range(3))
            said = await asyncio.gather(*three, return_exceptions=True)
            [refused] = [error for error in said if isinstance(error, RateLimitError)]
            assert "2 samples of yours still wait" in str(refused)
            assert refused.code == "too_many_webhook_tests"
            assert len(receiver.posts) == 8
    finally:
        stop.set()
        await asyncio.wait_for(sinks, 20)


async def test_without_a_sinks_service_a_sample_is_refused_in_words(client: AsyncOpenAI) -> None:
    made = await client.webhooks.create(**WANTED)
    with pytest.raises(InternalServerError, match="vllm-batch sinks") as raised:
        await client.webhooks.test(made.id, event_type="batch.failed")
    assert raised.value.status_code == 503


async def answers(client: AsyncOpenAI, endpoint: str) -> bool:
    try:
        await client.webhooks.test(endpoint, event_type="batch.failed")
    except APIStatusError:
        return False
    return True


async def row_of(served: Any, endpoint: str) -> Any:
    async with served.database.read() as conn:
        statement = select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint)
        return (await conn.execute(statement)).one()


async def add_delivery(served: Any, endpoint: str, **values: Any) -> None:
    row = {
        "batch_id": "batch_1",
        "sink": "webhook_endpoint",
        "endpoint": endpoint,
        "tenant": "default",
        "event_id": "evt_1",
        "event_type": "batch.completed",
        "state": "pending",
        "created_at": 1,
        **values,
    }
    async with served.database.write("in a test") as conn:
        await conn.execute(insert(deliveries).values(**row))


async def next_at(served: Any) -> float:
    async with served.database.read() as conn:
        return float((await conn.execute(select(deliveries.c.next_at))).scalar_one())
