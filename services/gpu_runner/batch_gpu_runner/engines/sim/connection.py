"""One keep-alive HTTP connection to the simulated server."""

import asyncio
import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

import httptools

_HEAD = b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b"
JSON = b"application/json"


class Handler(Protocol):
    """What answers requests, at once or later, through `Connection.send`."""

    connections: "set[Connection]"

    def get(self, connection: "Connection", path: str) -> None:
        """Answer a GET."""

    def post(self, connection: "Connection", path: str, body: bytes) -> None:
        """Answer a POST."""


class Connection(asyncio.Protocol):
    """Parses requests; its client waits for each answer before it asks again.

    on_lost: called when the client goes away before its answer; None while nothing is pending
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body = b""
        self.on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by type.
        self._transport = cast("asyncio.Transport", transport)
        self._handler.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._handler.connections.discard(self)
        if self.on_lost is not None:
            self.on_lost()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        path, body = self._path.decode("latin-1"), self._body
        self._path = self._body = b""
        if self._parser.get_method() == b"POST":
            self._handler.post(self, path, body)
        else:
            self._handler.get(self, path)

    def send(self, status: int, body: bytes, kind: bytes = JSON, more: bytes = b"") -> None:
        """Send a whole answer. `more`: further header lines, each with its line end."""
        self._transport.write(_HEAD % (_status_line(status), kind, more, len(body), body))

    def send_half(self, body: bytes) -> None:
        """Announce an answer, send half of it and break off."""
        half = body[: len(body) // 2]
        self._transport.write(_HEAD % (_status_line(200), JSON, b"", len(body), half))
        self._transport.close()


@functools.cache
def _status_line(status: int) -> bytes:
    try:
        return f"{status} {HTTPStatus(status).phrase}".encode()
    except ValueError:  # 599 and its like have no name
        return f"{status} Unknown".encode()
