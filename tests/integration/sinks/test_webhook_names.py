"""Names of receivers, and name servers that do not answer."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yarl

from batch_common.config import Webhook
from batch_sinks.sink import DeliveryError
from batch_sinks.webhook.sender import Sender, Target
from support.receiver import Receiver
from support.wait import until


class NameServer:
    """Answers look-ups of names under slow.example only once `over` is set: there are none."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.over = threading.Event()
        self._real = socket.getaddrinfo

    def look(self, host: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".slow.example"):
            self.waiting.append(str(host))
            self.over.wait(60)
            raise socket.gaierror("no such name")
        return self._real(host, *rest, **options)


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    made = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", made.look)
    yield made
    made.over.set()


def target(host: str, port: int) -> Target:
    return Target(yarl.URL(f"http://{host}:{port}/hook"), ())


async def test_name_servers_that_hang_hold_up_no_other(
    receiver: Receiver, name_server: NameServer
) -> None:
    """More look-ups than the event loop has threads for all of the process."""
    sender = Sender(Webhook(allow_private=True, timeout_s=50.0))
    slow = [
        asyncio.create_task(sender.post(target(f"{n}.slow.example", 80), "wh_1", b"{}"))
        for n in range(40)
    ]
    await until(lambda: len(name_server.waiting) == 40, what="40 look-ups that wait")
    async with asyncio.timeout(20):
        assert await sender.post(target("localhost", receiver.port), "wh_2", b"{}") == 200
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    name_server.over.set()
    said = await asyncio.gather(*slow, return_exceptions=True)
    assert all("cannot connect to" in str(error) for error in said)
    await sender.close()


@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 64 + ".example", "a..b", "a\0b.example"])
async def test_a_name_that_is_none_is_a_failed_attempt(host: str) -> None:
    sender = Sender(Webhook(allow_private=True, timeout_s=3.0))
    with pytest.raises(DeliveryError):
        await sender.post(target(host, 80), "wh_1", b"{}")
    await sender.close()


@pytest.mark.parametrize("user", ["us%3Aer:pw", "Ł:pw"])
async def test_a_url_that_cannot_be_sent_is_a_failed_attempt(receiver: Receiver, user: str) -> None:
    """Of a row that was made before such were refused."""
    sender = Sender(Webhook(allow_private=True, timeout_s=3.0))
    with pytest.raises(DeliveryError, match="the exchange broke off") as raised:
        await sender.post(target(f"{user}@127.0.0.1", receiver.port), "wh_1", b"{}")
    assert "pw" not in str(raised.value)
    assert receiver.posts == []
    await sender.close()
