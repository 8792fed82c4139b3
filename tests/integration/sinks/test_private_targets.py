"""Webhooks do not reach into the machine or its network unless they are let."""

import socket
from typing import Any

import msgspec
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from batch_common.config import Webhook
from batch_common.db import Database
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook import BatchUrlSink, Endpoints, EndpointSink, WebhookSink
from support.receiver import Receiver
from support.webhook_endpoint import add_endpoint

from .conftest import on_sqlite

# The configured webhook asks nothing of the batch.
BATCH: Any = None
ITEM = Item(
    sink="webhook",
    batch_id="batch_1",
    tenant="default",
    event_id="evt_1",
    event_type="batch.completed",
    ended_at=1700000000,
    attempt=1,
)
# Of this machine, and of where clouds keep their credentials.
PRIVATE = [
    ["127.0.0.1"],
    ["::1"],
    ["0.0.0.0"],  # noqa: S104
    ["::"],
    ["::ffff:127.0.0.1"],
    ["::ffff:0:127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["64:ff9b:1::7f00:1"],
    ["2002:7f00:1::1"],
    ["169.254.169.254"],
    ["127.0.0.1", "::1"],
]


class Resolver(AbstractResolver):
    """Says of every name what DNS would: one list after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the interface has it
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def deliver(url: str, *, allow_private: bool, resolver: Resolver | None = None) -> None:
    settings = Webhook(url=url, allow_private=allow_private, timeout_s=3)
    sink = WebhookSink(settings, resolver)
    try:
        await sink.deliver(ITEM, BATCH)
    finally:
        await sink.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",  # noqa: S104
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_the_machine_itself_is_refused(receiver: Receiver, host: str) -> None:
    with pytest.raises(DeliveryError, match=r"result_handlers\.webhook\.allow_private"):
        await deliver(f"http://{host}:{receiver.port}/hook", allow_private=False)
    assert receiver.posts == []


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001", "0"],
)
async def test_addresses_in_other_spellings_do_not_get_through(
    receiver: Receiver, host: str
) -> None:
    with pytest.raises(DeliveryError):
        await deliver(f"http://{host}:{receiver.port}/hook", allow_private=False)
    assert receiver.posts == []


@pytest.mark.parametrize("addresses", PRIVATE, ids=" ".join)
async def test_a_public_name_that_points_inside_is_refused(
    receiver: Receiver, addresses: list[str]
) -> None:
    resolver = Resolver(addresses)
    url = f"http://public.example:{receiver.port}/hook"
    with pytest.raises(DeliveryError, match="private"):
        await deliver(url, allow_private=False, resolver=resolver)
    assert receiver.posts == []
    assert resolver.asked == ["public.example"]


async def test_the_same_name_is_reached_where_it_is_allowed(receiver: Receiver) -> None:
    """Or the test above would prove nothing."""
    url = f"http://public.example:{receiver.port}/hook"
    await deliver(url, allow_private=True, resolver=Resolver(["127.0.0.1"]))
    assert len(receiver.posts) == 1


def count_as_public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Loopback addresses that stand in for public ones."""
    monkeypatch.setattr(
        "batch_sinks.webhook.address.is_public", lambda address: address in addresses
    )


async def test_a_name_that_changes_its_answer_gets_no_further(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a public address for the check, loopback for the connection.

    There is one look-up only, and what is checked is the address in the socket call.
    """
    count_as_public(monkeypatch, "127.0.0.2")
    resolver = Resolver(["127.0.0.2"], ["127.0.0.1"])
    url = f"http://rebinding.example:{receiver.port}/hook"
    sink = WebhookSink(Webhook(url=url, timeout_s=3), resolver)
    with pytest.raises(
        DeliveryError, match=r"cannot connect to rebinding\.example:\d+$"
    ):  # allowed, nobody listens there
        await sink.deliver(ITEM, BATCH)
    with pytest.raises(DeliveryError, match="address is private"):
        await sink.deliver(ITEM, BATCH)
    await sink.close()
    assert len(resolver.asked) == 2
    assert receiver.posts == []


async def test_a_private_address_behind_a_public_one_is_no_way_round(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first cannot be connected to, the HTTP client goes on to the next."""
    count_as_public(monkeypatch, "127.0.0.2")
    url = f"http://two.example:{receiver.port}/hook"
    for addresses in (["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
        with pytest.raises(DeliveryError, match="address is private") as raised:
            await deliver(url, allow_private=False, resolver=Resolver(addresses))
        assert "127.0.0" not in str(raised.value)
    assert receiver.posts == []


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would connect for us to whatever it is told, and see what is sent."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{receiver.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for allow_private in (False, True):
        with pytest.raises(DeliveryError):
            await deliver(
                "http://inside.example:9/hook",
                allow_private=allow_private,
                resolver=Resolver(["127.0.0.3"]),
            )
    assert receiver.posts == []


async def test_a_redirect_into_the_machine_is_not_followed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_as_public(monkeypatch, "127.0.0.1")
    receiver.answer = lambda _: receiver.plain(308, location=f"http://127.0.0.2:{receiver.port}/")
    with pytest.raises(DeliveryError, match="308: redirects are not followed"):
        await deliver(receiver.url, allow_private=False)
    assert len(receiver.posts) == 1


class NamesUrl:
    """A batch, as far as its own URL goes."""

    def __init__(self, url: str) -> None:
        self.metadata = {"webhook_url": url}


@on_sqlite
async def test_what_tenants_name_is_held_to_the_same_rules(
    receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Form first, then the address; the answer does not tell what a name resolves to."""
    url = f"http://public.example:{receiver.port}/hook"
    settings = Webhook(allow_http=True, timeout_s=3)
    endpoint = await add_endpoint(database, url)
    item = msgspec.structs.replace(ITEM, endpoint=endpoint)
    batch: Any = NamesUrl(url)
    for make in (
        lambda resolver: EndpointSink(settings, Endpoints(database), resolver),
        lambda resolver: BatchUrlSink(settings, resolver),
    ):
        refused = make(Resolver(["127.0.0.1"]))
        with pytest.raises(DeliveryError, match="address is private") as raised:
            await refused.deliver(item, batch)
        assert "127.0.0.1" not in str(raised.value)
        await refused.close()
    assert receiver.posts == []
    count_as_public(monkeypatch, "127.0.0.1")
    reached = EndpointSink(settings, Endpoints(database), Resolver(["127.0.0.1"]))
    await reached.deliver(item, batch)
    await reached.close()
    assert len(receiver.posts) == 1
