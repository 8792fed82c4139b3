"""HTTP/1.1 over a Unix socket to an engine that is our own child.

A tenth of what aiohttp costs per request, which matters where a runner shares two cores with
everything else. It knows what the managed engines' servers send (a length or chunks, kept
connections) and takes anything else for a broken connection.
"""

import asyncio
import contextlib

from yarl import URL

from batch_gpu_runner.engines.base import Endpoint, EngineAnswer, EngineConnectionError
from batch_gpu_runner.engines.socket_connection import SocketConnection
from batch_gpu_runner.engines.transport import (
    CONNECT_TIMEOUT_S,
    DroppedError,
    request_headers,
)

# The engines' listen queues are short (llama.cpp's holds 5), and a full one refuses at once.
CONNECTS_AT_ONCE = 4
_QUEUE_FULL_PAUSE_S = 0.01


class SocketTransport:
    """A `Transport`. Must be made inside the running loop."""

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        self._path = path
        self._lines = "".join(f"{k}: {v}\r\n" for k, v in request_headers(endpoint).items())
        self._heads: dict[tuple[str, URL], bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._open: set[SocketConnection] = set()
        self._idle: list[SocketConnection] = []
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for connection in list(self._open):
            connection.abort(EngineConnectionError(f"{self._path}: stopped"))

    async def send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        connection = self._take_idle() or await self._connect()
        head = self._heads.get((method, url)) or self._head(method, url)
        body = body or b""
        answer = connection.ask(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        timer = self._loop.call_later(timeout_s, connection.expire, timeout_s)
        try:
            received = await answer
        except asyncio.CancelledError:
            connection.abort(None)
            raise
        except DroppedError:
            # The others have been idle as long, so the next try gets a new one.
            self._drop_idle()
            raise
        finally:
            timer.cancel()
        # Not earlier: until here this task may be cancelled, or its time be up, with the answer
        # already there, and either would end the next request on the connection.
        if connection.is_usable:
            self._idle.append(connection)
        return received

    def _take_idle(self) -> SocketConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort(None)

    def _head(self, method: str, url: URL) -> bytes:
        lines = f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host}\r\n{self._lines}"
        head = self._heads[method, url] = lines.encode("latin-1") + b"Content-Length: "
        return head

    async def _connect(self) -> SocketConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S), self._connecting:
                connection = await self._connect_when_free()
        except TimeoutError as error:
            raise EngineConnectionError(
                f"{self._path}: no connection within {CONNECT_TIMEOUT_S:g} s"
            ) from error
        except OSError as error:
            raise EngineConnectionError(f"{self._path}: {error}") from error
        return connection

    async def _connect_when_free(self) -> SocketConnection:
        while not self._closed:
            with contextlib.suppress(BlockingIOError):
                return await self._connect_once(SocketConnection(self._path, self._open))
            await asyncio.sleep(_QUEUE_FULL_PAUSE_S)
        raise EngineConnectionError(f"{self._path}: stopped")

    async def _connect_once(self, connection: SocketConnection) -> SocketConnection:
        try:
            await self._loop.create_unix_connection(lambda: connection, self._path)
        except asyncio.CancelledError:
            connection.give_up()
            raise
        return connection
