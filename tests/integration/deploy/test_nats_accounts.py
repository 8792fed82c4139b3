"""The shipped NATS accounts: what each service may do, and what it may not."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats
import pytest
from nats.aio.client import Client

from batch_common.bus import connect
from batch_common.errors import BusUnavailableError
from support.shipped_nats import ShippedServer, password
from support.wait import until

# (user, subject): may publish.
MAY_PUBLISH = [
    ("gateway", "batch.submitted"),
    ("gateway", "webhook.test"),
    ("gateway", "$JS.API.STREAM.CREATE.BATCHES"),
    ("scheduler", "chunk.ready.m.c"),
    ("scheduler", "batch.completed"),
    ("scheduler", "$JS.API.STREAM.PURGE.CHUNKS"),
    ("scheduler", "$JS.API.CONSUMER.MSG.NEXT.RESULTS.scheduler"),
    ("runner", "chunk.claim"),
    ("runner", "chunk.completed"),
    ("runner", "$KV.runners.r1"),
    ("runner", "$JS.API.CONSUMER.MSG.NEXT.CHUNKS.runner-m"),
    ("runner", "$JS.ACK.CHUNKS.runner-m.1.2.3.4.5"),
    ("sinks", "dead.webhook"),
    ("sinks", "$JS.API.CONSUMER.MSG.NEXT.BATCHES.sink-webhook"),
    ("listener", "$JS.API.CONSUMER.MSG.NEXT.BATCHES.mine"),
    ("listener", "$JS.API.CONSUMER.DURABLE.CREATE.BATCHES.mine"),
    ("operator", "anything.at.all"),
]
MAY_NOT_PUBLISH = [
    ("gateway", "chunk.completed"),
    ("gateway", "chunk.claim"),
    ("gateway", "$KV.runners.r1"),
    ("gateway", "$JS.API.STREAM.DELETE.BATCHES"),
    ("gateway", "$JS.API.STREAM.PURGE.CHUNKS"),
    ("gateway", "$JS.ACK.CHUNKS.runner-m.1.2.3.4.5"),
    ("scheduler", "chunk.completed"),
    ("scheduler", "$KV.runners.r1"),
    ("scheduler", "$JS.API.STREAM.DELETE.CHUNKS"),
    ("scheduler", "$JS.API.STREAM.PURGE.BATCHES"),
    ("scheduler", "$JS.ACK.CHUNKS.runner-m.1.2.3.4.5"),
    ("scheduler", "_INBOX.runner.x"),
    ("runner", "batch.completed"),
    ("runner", "chunk.ready.m.c"),
    ("runner", "dead.webhook"),
    ("runner", "$JS.API.STREAM.CREATE.CHUNKS"),
    ("runner", "$JS.API.STREAM.PURGE.CHUNKS"),
    ("runner", "$JS.API.CONSUMER.MSG.NEXT.RESULTS.scheduler"),
    ("runner", "$JS.ACK.RESULTS.scheduler.1.2.3.4.5"),
    ("sinks", "chunk.completed"),
    ("sinks", "$JS.API.STREAM.CREATE.BATCHES"),
    ("sinks", "$JS.ACK.CHUNKS.runner-m.1.2.3.4.5"),
    ("listener", "batch.completed"),
    ("listener", "chunk.claim"),
    ("listener", "$JS.API.STREAM.DELETE.BATCHES"),
    ("listener", "$JS.API.CONSUMER.MSG.NEXT.CHUNKS.runner-m"),
    ("listener", "$JS.ACK.RESULTS.scheduler.1.2.3.4.5"),
]
MAY_SUBSCRIBE = [
    ("gateway", "_INBOX.gateway.x"),
    ("scheduler", "chunk.claim"),
    ("sinks", "webhook.test"),
    ("listener", "batch.>"),
    ("listener", "_INBOX.x"),
    ("operator", ">"),
]
MAY_NOT_SUBSCRIBE = [
    ("gateway", "_INBOX.scheduler.x"),
    ("gateway", "chunk.claim"),
    ("runner", "chunk.claim"),
    ("runner", "chunk.ready.>"),
    ("runner", "_INBOX.gateway.>"),
    ("scheduler", "_INBOX.>"),
    ("sinks", "chunk.completed"),
    ("listener", "_INBOX.runner.x"),
    ("listener", "chunk.>"),
]
# Nobody but the operator may.
LAST = "last.of.all"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ShippedServer]:
    started = ShippedServer(tmp_path)
    await started.start()
    yield started
    await started.stop()


class Person:
    """A user at the server, and what the server has held against him."""

    def __init__(self, server: ShippedServer, user: str) -> None:
        self._server = server
        self.user = user
        self.refused: list[str] = []

    async def __aenter__(self) -> Client:
        async def refused(error: Exception) -> None:
            self.refused.append(str(error).lower())

        self._client = await nats.connect(
            f"nats://127.0.0.1:{self._server.port}",
            user=self.user,
            password=password(self.user),
            error_cb=refused,
            allow_reconnect=False,
        )
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def refusals(server: ShippedServer, table: list[tuple[str, str]], verb: str) -> set[str]:
    """The subjects of the table that the server refuses, as `user subject`."""
    found: set[str] = set()
    for user in sorted({user for user, _ in table}):
        subjects = [subject for name, subject in table if name == user]
        async with (person := Person(server, user)) as client:
            for subject in subjects:
                if verb == "publish":
                    await client.publish(subject, b"")
                else:
                    await client.subscribe(subject)
            await client.publish(LAST, b"")  # errors come in order: after this one's, no other
            await client.flush()
            if user != "operator":
                await until(lambda p=person: any(LAST in said for said in p.refused), what=LAST)
        for subject in subjects:
            if any(verb in said and f'"{subject.lower()}"' in said for said in person.refused):
                found.add(f"{user} {subject}")
    return found


def named(table: list[tuple[str, str]]) -> set[str]:
    return {f"{user} {subject}" for user, subject in table}


async def test_what_each_may_publish(server: ShippedServer) -> None:
    assert await refusals(server, MAY_PUBLISH, "publish") == set()
    assert await refusals(server, MAY_NOT_PUBLISH, "publish") == named(MAY_NOT_PUBLISH)


async def test_what_each_may_hear(server: ShippedServer) -> None:
    assert await refusals(server, MAY_SUBSCRIBE, "subscription") == set()
    assert await refusals(server, MAY_NOT_SUBSCRIBE, "subscription") == named(MAY_NOT_SUBSCRIBE)


async def test_a_listener_of_every_inbox_hears_no_service(server: ShippedServer) -> None:
    heard: list[str] = []

    async def hear(message: nats.aio.msg.Msg) -> None:
        heard.append(message.subject)

    async with Person(server, "listener") as listener, Person(server, "operator") as operator:
        await listener.subscribe("_INBOX.>", cb=hear)
        await listener.flush()

        async def hears() -> bool:
            """The server may drop the first messages of a subscription that it has to filter."""
            for subject in ("_INBOX.runner.secret", "_INBOX.mine"):
                await operator.publish(subject, b"")
            await operator.flush()
            return len(heard) >= 3

        await until(hears, what="messages of its own")
    assert set(heard) == {"_INBOX.mine"}


async def test_nobody_comes_in_without_a_password(server: ShippedServer) -> None:
    anybody = msgspec.structs.replace(server.settings("runner"), user="")
    with pytest.raises(BusUnavailableError):
        async with connect(anybody, "runner"):
            pass


async def test_a_runner_waits_for_the_streams_that_others_make(server: ShippedServer) -> None:
    async with connect(server.settings("gateway"), "gateway"):
        pass
    async with connect(server.settings("runner"), "runner") as bus:
        assert (await bus.stream_head("CHUNKS")).messages == 0
