"""Receivers as they are: each event arrives at least once, under one id, whatever they do."""

import asyncio
from collections import defaultdict

import pytest
from aiohttp import web
from openai import OpenAI

from batch_common.db import Database
from support.finished import ENDED
from support.receiver import Post, Receiver
from support.wait import until
from support.webhook_endpoint import SECRET as OWN_SECRET
from support.webhook_endpoint import add_endpoint

from .conftest import SECRET, EndBatch, FindRow, InState, Serve

# What it does with the tries at each delivery, one after the other; then it takes it.
TROUBLE = ("500", "hangs", "redirects", "not HTTP", "429", "takes it, slowly")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_sinks.retry._FIRST_S", 0.02)
    monkeypatch.setattr("batch_sinks.deliverer._POLL_S", 0.05)


class Troubled:
    """Answers each delivery's tries with each kind of trouble."""

    def __init__(self, receiver: Receiver) -> None:
        self.tries: dict[str, list[Post]] = defaultdict(list)
        self._receiver = receiver
        receiver.answer = self.answer

    def answer(self, post: Post) -> web.Response | None:
        tries = self.tries[post.webhook_id]
        tries.append(post)
        match TROUBLE[min(len(tries), len(TROUBLE)) - 1]:
            case "hangs":
                return None
            case "redirects":
                return self._receiver.plain(307, location="/elsewhere")
            case "not HTTP":
                return self._receiver.broken()
            case "takes it, slowly":
                return self._receiver.plain(202)
            case status:
                return self._receiver.plain(int(status))


async def test_every_event_survives_every_kind_of_trouble(
    serve: Serve,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
) -> None:
    """The configured webhook, an endpoint of a tenant's, and a batch's own URL."""
    trouble = Troubled(receiver)
    receiver.before_answer = lambda: asyncio.sleep(0.05)
    base = receiver.url.removesuffix("/hook")
    endpoint = await add_endpoint(database, f"{base}/endpoint")
    sinks = {
        "webhook": ("/hook", SECRET),
        f"webhook_endpoint/{endpoint}": ("/endpoint", OWN_SECRET),
        "webhook_url": ("/url", SECRET),
    }
    metadata = {"webhook_url": f"{base}/url"}
    await receiver.stop()  # down for a while
    async with serve(timeout_s=0.5):
        ended = {
            await end_batch(kind, sinks=tuple(sinks), metadata=metadata): kind for kind in ENDED
        }

        async def all_tried() -> bool:
            rows = [await find_row(batch_id, sink) for batch_id in ended for sink in sinks]
            return all("cannot connect" in (row.last_error or "") for row in rows)

        await until(all_tried, what="tries in vain at every delivery")
        await receiver.start()
        for sink in sinks:
            await until(in_state("delivered", *ended, sink=sink), within_s=60)
    assert len(trouble.tries) == len(ended) * len(sinks)
    heard = set()
    with OpenAI(api_key="sk-test") as client:
        for tries in trouble.tries.values():
            assert len(tries) >= len(TROUBLE)
            [path] = {post.path for post in tries}
            [secret] = [secret for at, secret in sinks.values() if at == path]
            for post in tries:
                event = client.webhooks.unwrap(post.body, post.headers, secret=secret)
                assert ended[event.data.id] == event.type
            heard.add((event.data.id, path))
    assert len(heard) == len(ended) * len(sinks)
