"""The HTTP client that all engines share: prebuilt URLs, bodies as bytes."""

import asyncio
import time

from yarl import URL

from batch_gpu_runner.engines.base import (
    ENDPOINTS,
    Endpoint,
    EngineAnswer,
    EngineConnectionError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.socket_transport import SocketTransport
from batch_gpu_runner.engines.transport import DroppedError, Transport
from batch_gpu_runner.engines.web_transport import WebTransport

IDLE_CLOSE_S = 2.0  # within this a dropped connection was closed before it took the request


class EngineClient:
    """Requests to one endpoint. `open()` before use, `close()` after; both may be repeated."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        base = endpoint.base_url.rstrip("/")
        self._urls = {path: URL(base + path.removeprefix("/v1")) for path in ENDPOINTS}
        self._models_url = URL(base + "/models")
        self._origin = URL(base).origin()
        self._transport: Transport | None = None

    def open(self) -> None:
        """Get ready inside the running loop; nothing is connected yet."""
        if self._transport is None:
            socket = self._endpoint.unix_socket
            self._transport = (
                SocketTransport(socket, self._endpoint) if socket else WebTransport(self._endpoint)
            )

    async def close(self) -> None:
        """Close every connection; requests still in flight raise EngineConnectionError."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def post(self, path: str, body: bytes, timeout_s: float) -> EngineAnswer:
        """One of ENDPOINTS. Raises EngineConnectionError and EngineTimeoutError."""
        url = self._urls[path]
        sent = time.monotonic()
        try:
            return await self._send("POST", url, body, timeout_s)
        except DroppedError:
            # An engine closes idle connections at a moment of its choice, and a request may be
            # on its way then. Later, or twice in a row, it is no such accident.
            if time.monotonic() - sent > IDLE_CLOSE_S:
                raise
            return await self._send("POST", url, body, timeout_s)

    async def get(self, path: str, timeout_s: float) -> EngineAnswer:
        """`path` from the server's root, as in "/health". Raises what `post` raises."""
        return await self._send("GET", self._origin.with_path(path), None, timeout_s)

    async def get_models(self, timeout_s: float) -> EngineAnswer:
        """The endpoint's own list of models. Raises what `post` raises."""
        return await self._send("GET", self._models_url, None, timeout_s)

    async def _send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        if self._transport is None:
            raise EngineConnectionError(f"{self._origin}: the engine is not running")
        return await self._transport.send(method, url, body, timeout_s)


async def wait_until_served(client: EngineClient, path: str, poll_s: float = 0.1) -> None:
    """Return once GET `path` answers 200. Bound it in time from outside."""
    while True:
        try:
            if (await client.get(path, timeout_s=5.0)).status == 200:
                return
        except (EngineConnectionError, EngineTimeoutError):
            pass
        await asyncio.sleep(poll_s)
