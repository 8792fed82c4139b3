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


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Look-ups of names under slow.example, which get no answer before the test is over."""
    real, over, names = socket.getaddrinfo, threading.Event(), []

    def look(host: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".slow.example"):
            names.append(str(host))
            over.wait(60)
            raise socket.gaierror("no answer")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    yield names
    over.set()


def target(host: str, port: int) -> Target:
    return Target(yarl.URL(f"http://{host}:{port}/hook"), ())


async def test_name_servers_that_hang_hold_up_no_other(
    receiver: Receiver, waiting: list[str]
) -> None:
    """More look-ups than the event loop has threads for all of the process."""
    sender = Sender(Webhook(allow_private=True, timeout_s=3.0))
    slow = [
        asyncio.create_task(sender.post(target(f"{n}.slow.example", 80), "wh_1", b"{}"))
        for n in range(40)
    ]
    await until(lambda: len(waiting) == 40, what="40 look-ups that wait")
    async with asyncio.timeout(2):
        assert await sender.post(target("localhost", receiver.port), "wh_2", b"{}") == 200
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    said = await asyncio.gather(*slow, return_exceptions=True)
    assert {str(error) for error in said} == {"no answer within 3 s"}
    await sender.close()


@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 64 + ".example", "a..b"])
async def test_a_name_that_is_none_is_a_failed_attempt(host: str) -> None:
    sender = Sender(Webhook(allow_private=True, timeout_s=3.0))
    with pytest.raises(DeliveryError):
        await sender.post(target(host, 80), "wh_1", b"{}")
    await sender.close()
