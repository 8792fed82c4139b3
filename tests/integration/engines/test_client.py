"""The HTTP client against servers that behave badly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from batch_common.secret import Secret
from batch_gpu_runner.engines.base import (
    CHAT,
    Endpoint,
    EngineConnectionError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.client import EngineClient
from support.ports import free_port
from support.wait import until

Handle = Callable[["Requests"], Awaitable[None]]


class Requests:
    """One connection: the requests it brings, and what is written back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def next(self) -> bytes:
        """Head and body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        return head + await self.reader.readexactly(length)

    async def answer(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        self.writer.write(
            f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body
        )
        await self.writer.drain()


Serving = Callable[..., contextlib.AbstractAsyncContextManager[EngineClient]]


@pytest.fixture(params=["tcp", "socket"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    """`serving(handle)`: a server whose connections `handle` treats, and a client of it."""
    socket = tmp_path / "s" if request.param == "socket" else None

    @contextlib.asynccontextmanager
    async def serve(handle: Handle, **headers: str) -> AsyncIterator[EngineClient]:
        open_connections = 0

        async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_connections
            open_connections += 1
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await handle(Requests(reader, writer))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            open_connections -= 1

        if socket is not None:
            server = await asyncio.start_unix_server(treat, socket)
            base = "http://engine/v1"
        else:
            server = await asyncio.start_server(treat, "127.0.0.1", 0)
            base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        secrets = {name: Secret(value) for name, value in headers.items()}
        client = EngineClient(Endpoint(base, str(socket) if socket else None, secrets))
        client.open()
        try:
            yield client
        finally:
            await client.close()
            server.close()
            await until(lambda: open_connections == 0, what="the end of all connections")

    return serve


async def test_bodies_pass_verbatim_both_ways_and_the_key_is_sent(serving: Serving) -> None:
    seen: list[bytes] = []

    async def handle(requests: Requests) -> None:
        seen.append(await requests.next())
        await requests.answer(b'{ "odd":\n 1.50}')

    async with serving(handle, Authorization="Bearer k") as client:
        answer = await client.post(CHAT, b'{"a" : 1.0}', 5)
    assert (answer.status, answer.body) == (200, b'{ "odd":\n 1.50}')
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert body == b'{"a" : 1.0}'
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer k" in head
    assert b"Accept-Encoding: identity" in head


async def test_a_body_of_ten_megabytes_passes(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        request = await requests.next()
        await requests.answer(request.partition(b"\r\n\r\n")[2])

    big = b"x" * 10_000_000
    async with serving(handle) as client:
        assert (await client.post(CHAT, big, 30)).body == big


async def test_a_connection_closed_while_idle_is_no_error(serving: Serving) -> None:
    """Race: the server closes a kept connection while the next request is on its way."""
    connections = 0

    async def handle(requests: Requests) -> None:
        nonlocal connections
        connections += 1
        await requests.next()
        await requests.answer(b"{}")
        if connections == 1:
            await requests.reader.readexactly(1)  # the second request has arrived: hang up

    async with serving(handle) as client:
        for _ in range(2):
            assert (await client.post(CHAT, b"{}", 5)).status == 200
    assert connections == 2


async def test_a_server_that_always_hangs_up_is_tried_twice(serving: Serving) -> None:
    connections = 0

    async def handle(requests: Requests) -> None:
        nonlocal connections
        connections += 1
        await requests.next()

    async with serving(handle) as client:
        with pytest.raises(EngineConnectionError):
            await client.post(CHAT, b"{}", 5)
    assert connections == 2


async def test_an_answer_cut_off_in_the_middle_is_a_broken_connection(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        await requests.next()
        requests.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")

    async with serving(handle) as client:
        with pytest.raises(EngineConnectionError):
            await client.post(CHAT, b"{}", 5)


async def test_what_is_no_http_is_a_broken_connection(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        await requests.next()
        requests.writer.write(b"220 smtp ready\r\n\r\n")

    async with serving(handle) as client:
        with pytest.raises(EngineConnectionError):
            await client.post(CHAT, b"{}", 5)


async def test_chunks_are_joined(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        for _ in range(2):
            await requests.next()
            requests.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n")
            await requests.writer.drain()
            requests.writer.write(b'{"a\r\n4\r\n":1}\r\n0\r\n\r\n')

    async with serving(handle) as client:
        for _ in range(2):
            assert (await client.post(CHAT, b"{}", 5)).body == b'{"a":1}'


async def test_an_announced_close_is_heeded(serving: Serving) -> None:
    connections = 0

    async def handle(requests: Requests) -> None:
        nonlocal connections
        connections += 1
        await requests.next()
        await requests.answer(b"{}", headers="Connection: close\r\n")

    async with serving(handle) as client:
        for _ in range(3):
            assert (await client.post(CHAT, b"{}", 5)).status == 200
    assert connections == 3


@pytest.mark.parametrize("serving", ["socket"], indirect=True)
async def test_many_idle_connections_closed_at_once_cost_one_retry(serving: Serving) -> None:
    """Race: after a pause the server closes all of them; the next request must not try each."""
    answered = hung_up = 0
    all_answered = asyncio.Event()

    async def handle(requests: Requests) -> None:
        nonlocal answered, hung_up
        await requests.next()
        answered += 1
        if answered == 8:
            all_answered.set()
        await all_answered.wait()
        await requests.answer(b"{}")
        if answered == 8:
            await requests.reader.readexactly(1)
            hung_up += 1

    async with serving(handle) as client:
        await asyncio.gather(*(client.post(CHAT, b"{}", 5) for _ in range(8)))
        assert (await client.post(CHAT, b"{}", 5)).status == 200
    assert hung_up == 1


async def test_connections_are_used_again(serving: Serving) -> None:
    connections = 0

    async def handle(requests: Requests) -> None:
        nonlocal connections
        connections += 1
        while True:
            await requests.next()
            await requests.answer(b"{}")

    async with serving(handle) as client:
        for _ in range(5):
            await asyncio.gather(*(client.post(CHAT, b"{}", 5) for _ in range(3)))
    assert connections == 3


async def test_closing_the_client_ends_its_requests(serving: Serving) -> None:
    arrived = asyncio.Event()

    async def handle(requests: Requests) -> None:
        await requests.next()
        arrived.set()
        await requests.reader.read()

    async with serving(handle) as client:
        post = asyncio.create_task(client.post(CHAT, b"{}", 30))
        await arrived.wait()
        await client.close()
        with pytest.raises(EngineConnectionError):
            await asyncio.wait_for(post, 5)
        with pytest.raises(EngineConnectionError):
            await client.post(CHAT, b"{}", 5)


async def test_a_late_answer_is_a_timeout(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        await requests.next()
        await requests.reader.read()

    async with serving(handle) as client:
        with pytest.raises(EngineTimeoutError, match=r"0\.2 s"):
            await client.post(CHAT, b"{}", 0.2)


async def test_a_cancelled_request_closes_its_connection(serving: Serving) -> None:
    """By this engines learn that they need not compute the answer."""
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def handle(requests: Requests) -> None:
        await requests.next()
        arrived.set()
        await requests.reader.read()
        closed.set()

    async with serving(handle) as client:
        post = asyncio.create_task(client.post(CHAT, b"{}", 30))
        await arrived.wait()
        post.cancel()
        await until(closed.is_set, what="the connection's end")
        with pytest.raises(asyncio.CancelledError):
            await post


async def test_the_wish_to_wait_is_passed_on(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        await requests.next()
        await requests.answer(b"{}", "429 Too Many Requests", "Retry-After: 7\r\n")

    async with serving(handle) as client:
        answer = await client.post(CHAT, b"{}", 5)
    assert (answer.status, answer.retry_after_s) == (429, 7.0)


async def test_a_redirect_is_an_answer_and_not_followed(serving: Serving) -> None:
    async def handle(requests: Requests) -> None:
        await requests.next()
        await requests.answer(b"", "307 Temporary Redirect", "Location: http://elsewhere/\r\n")

    async with serving(handle, Authorization="Bearer k") as client:
        assert (await client.post(CHAT, b"{}", 5)).status == 307


@pytest.mark.parametrize("socket", [None, "/tmp/nobody-listens-here"])
async def test_a_port_nobody_listens_on_is_a_connection_error_without_secrets(
    socket: str | None,
) -> None:
    headers = {"Authorization": Secret("sk-x")}
    client = EngineClient(Endpoint(f"http://127.0.0.1:{free_port()}/v1", socket, headers))
    client.open()
    with pytest.raises(EngineConnectionError) as caught:
        await client.post(CHAT, b"{}", 5)
    await client.close()
    assert (socket or "127.0.0.1") in str(caught.value)
    assert "sk-x" not in str(caught.value)


@pytest.mark.parametrize("serving", ["socket"], indirect=True)
async def test_a_request_cancelled_as_its_answer_arrives_harms_no_other(serving: Serving) -> None:
    """Race: the answer is here, its task has not run yet and is cancelled; the connection must
    not be another request's by then.
    """

    async def handle(requests: Requests) -> None:
        while True:
            request = await requests.next()
            await requests.answer(request.partition(b"\r\n\r\n")[2])

    cancelled = 0

    async def ask(client: EngineClient, number: int) -> None:
        nonlocal cancelled
        for turn in range(60):
            body = b"%d-%d" % (number, turn)
            post = asyncio.create_task(client.post(CHAT, body, 5))
            if turn % 3 == 0:
                asyncio.get_running_loop().call_later(0.0002 * (turn + number), post.cancel)
            try:
                assert (await post).body == body
            except asyncio.CancelledError:
                cancelled += 1

    async with serving(handle) as client:
        await asyncio.wait_for(asyncio.gather(*(ask(client, n) for n in range(24))), 20)
    assert cancelled > 20
