"""HTTP/1.1 over a Unix socket to an engine that is our own child.

A tenth of what aiohttp costs per request, which matters where a runner shares two cores with
everything else. It knows what the managed engines' servers send (a length or chunks, kept
connections) and takes anything else for a broken connection.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import httptools
from yarl import URL

from batch_gpu_runner.engines.base import (
    Endpoint,
    EngineAnswer,
    EngineConnectionError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.transport import (
    CONNECT_TIMEOUT_S,
    DroppedError,
    request_headers,
    retry_after_s,
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
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
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
            return await answer
        except asyncio.CancelledError:
            connection.abort(None)
            raise
        except DroppedError:
            # The others have been idle as long, so the next try gets a new one.
            self._drop_idle()
            raise
        finally:
            timer.cancel()

    def _take_idle(self) -> "_Connection | None":
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

    async def _connect(self) -> "_Connection":
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

    async def _connect_when_free(self) -> "_Connection":
        while True:
            if self._closed:
                raise EngineConnectionError(f"{self._path}: stopped")
            with contextlib.suppress(BlockingIOError):
                _, made = await self._loop.create_unix_connection(
                    lambda: _Connection(self._path, self._open, self._idle.append), self._path
                )
                return made
            await asyncio.sleep(_QUEUE_FULL_PAUSE_S)


class _Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, then the next request."""

    def __init__(
        self,
        path: str,
        all_open: "set[_Connection]",
        give_back: "Callable[[_Connection], None]",
    ) -> None:
        self._path = path
        self._all_open = all_open
        self._give_back = give_back
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._answer: asyncio.Future[EngineAnswer] | None = None
        self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type.
        self._transport = cast("asyncio.Transport", transport)
        self._all_open.add(self)

    @property
    def is_usable(self) -> bool:
        """Whether the engine has not closed it, as far as is known."""
        return not self._transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[EngineAnswer]:
        """Send a whole request; the future gets the answer or the error."""
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._heard = False
        self._transport.write(request)
        return answer

    def expire(self, timeout_s: float) -> None:
        """The request's time is up."""
        self.abort(EngineTimeoutError(f"{self._path}: no answer in {timeout_s:g} s"))

    def abort(self, error: Exception | None) -> None:
        """Drop the connection at once; None when nobody waits for the answer any more."""
        if error is not None:
            self._fail(error)
        self._answer = None
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all_open.discard(self)
        kind = EngineConnectionError if self._heard else DroppedError
        self._fail(kind(f"{self._path}: the connection was closed ({exc or 'by the engine'})"))

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(EngineConnectionError(f"{self._path}: not HTTP: {error}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name[:5].lower() == b"retry":
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._pieces)
        self._pieces.clear()
        wait_s = None
        if self._headers:
            wait_s = retry_after_s(self._headers)
            self._headers = {}
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            self._transport.abort()
            return
        answer.set_result(EngineAnswer(self._parser.get_status_code(), body, wait_s))
        if self._parser.should_keep_alive():
            self._give_back(self)
        else:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
