"""Webhooks do not reach into the machine or its network unless they are let."""

import socket
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from batch_common.config import Webhook
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook import WebhookSink
from support.receiver import Receiver

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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_machine_itself_is_refused(receiver: Receiver, host: str) -> None:
    with pytest.raises(DeliveryError, match=r"result_handlers\.webhook\.allow_private"):
        await deliver(f"http://{host}:{receiver.port}/hook", allow_private=False)
    assert receiver.posts == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_addresses_in_other_spellings_do_not_get_through(
    receiver: Receiver, host: str
) -> None:
    with pytest.raises(DeliveryError):
        await deliver(f"http://{host}:{receiver.port}/hook", allow_private=False)
    assert receiver.posts == []


async def test_a_public_name_that_points_inside_is_refused(receiver: Receiver) -> None:
    resolver = Resolver(["127.0.0.1", "::1"])
    url = f"http://public.example:{receiver.port}/hook"
    with pytest.raises(DeliveryError, match="private"):
        await deliver(url, allow_private=False, resolver=resolver)
    assert receiver.posts == []
    assert resolver.asked
    await deliver(url, allow_private=True, resolver=resolver)
    assert len(receiver.posts) == 1


async def test_a_name_that_changes_its_answer_gets_no_further(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a public address for the check, loopback for the connection.

    There is one look-up only, and what is checked is the address in the socket call; the
    public one is stood in for by a loopback address that counts as public here.
    """
    monkeypatch.setattr(
        "batch_sinks.webhook.address.is_public", lambda address: address == "127.0.0.2"
    )
    resolver = Resolver(["127.0.0.2"], ["127.0.0.1"])
    url = f"http://rebinding.example:{receiver.port}/hook"
    sink = WebhookSink(Webhook(url=url, timeout_s=3), resolver)
    with pytest.raises(DeliveryError, match="Cannot connect"):  # allowed, nobody listens there
        await sink.deliver(ITEM, BATCH)
    with pytest.raises(DeliveryError, match="address is private"):
        await sink.deliver(ITEM, BATCH)
    await sink.close()
    assert len(resolver.asked) == 2
    assert receiver.posts == []
