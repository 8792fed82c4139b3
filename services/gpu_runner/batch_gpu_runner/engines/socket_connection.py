"""One connection of the socket transport."""

import asyncio
from typing import cast

import httptools

from batch_gpu_runner.engines.base import (
    EngineAnswer,
    EngineConnectionError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.transport import DroppedError, retry_after_s


class SocketConnection(asyncio.Protocol):
    """One kept connection: a request, its answer, then the next request."""

    def __init__(self, path: str, all_open: "set[SocketConnection]") -> None:
        self._path = path
        self._all_open = all_open
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._answer: asyncio.Future[EngineAnswer] | None = None
        self._heard = False
        self._wanted = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type.
        self._transport = cast("asyncio.Transport", transport)
        self._all_open.add(self)
        if not self._wanted:
            self._transport.abort()

    def give_up(self) -> None:
        """Nobody waits for this connection any more; the loop may make it all the same."""
        self._wanted = False
        if self in self._all_open:
            self._all_open.discard(self)  # uvloop may have closed it without telling us
            self._transport.abort()

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
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
