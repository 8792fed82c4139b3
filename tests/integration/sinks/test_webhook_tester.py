"""Samples that tenants ask for: one tenant's hold up no other's."""

import asyncio

from batch_common.config import Webhook
from batch_common.db import Database
from batch_common.events import WebhookTest, WebhookTested, decode, encode
from batch_sinks import webhook
from support.receiver import Receiver
from support.wait import until
from support.webhook_endpoint import add_endpoint

from .conftest import on_sqlite


async def ask(tester: webhook.Tester, tenant: str, endpoint: str) -> WebhookTested:
    wanted = WebhookTest(tenant=tenant, endpoint=endpoint, event_type="batch.completed")
    return decode(await tester.answer(encode(wanted)) or b"", WebhookTested)


@on_sqlite
async def test_a_tenant_whose_receiver_hangs_has_two_samples_and_others_theirs(
    receiver: Receiver, database: Database
) -> None:
    base = receiver.url.removesuffix("/hook")
    hangs = await add_endpoint(database, f"{base}/hangs", tenant="a")
    good = await add_endpoint(database, f"{base}/good", tenant="b")
    receiver.answer = lambda post: None if post.path == "/hangs" else receiver.plain(200)
    settings = Webhook(allow_http=True, allow_private=True, timeout_s=3.0)
    tester = webhook.Tester(settings, webhook.Endpoints(database))
    waiting = [asyncio.create_task(ask(tester, "a", hangs)) for _ in range(2)]
    await until(lambda: len(receiver.posts) == 2, what="both samples")
    refused = [await ask(tester, "a", hangs) for _ in range(20)]
    assert all(said.busy and "2 samples of yours" in said.error for said in refused)
    assert (await ask(tester, "b", good)).status_code == 200
    assert not any(task.done() for task in waiting)
    said = await asyncio.gather(*waiting)
    assert [one.error for one in said] == ["no answer within 3 s"] * 2
    receiver.answer = lambda _: receiver.plain(200)
    assert (await ask(tester, "a", hangs)).status_code == 200
    assert len(receiver.posts) == 4
    await tester.close()


@on_sqlite
async def test_a_url_that_cannot_be_sent_is_answered(
    receiver: Receiver, database: Database
) -> None:
    """Made before such were refused."""
    url = f"http://us%3Aer:pw@127.0.0.1:{receiver.port}/hook"
    endpoint = await add_endpoint(database, url)
    tester = webhook.Tester(
        Webhook(allow_http=True, allow_private=True), webhook.Endpoints(database)
    )
    said = await ask(tester, "default", endpoint)
    assert "must not hold a user or password" in said.error
    assert receiver.posts == []
    await tester.close()
