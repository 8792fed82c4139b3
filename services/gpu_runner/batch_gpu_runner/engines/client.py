"""The HTTP client that all engines share: one session, prebuilt URLs, bodies as bytes.

Tuned for many short requests to one server: no cookie jar, no decompression (so none is asked
for), no limit on connections (the runner's window is the limit).
"""

import asyncio
import email.utils
import io
import math
import time
from collections.abc import Mapping

import aiohttp
from yarl import URL

from batch_gpu_runner.engines.base import (
    ENDPOINTS,
    Endpoint,
    EngineAnswer,
    EngineConnectionError,
    EngineTimeoutError,
)

CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30.0
IDLE_CLOSE_S = 2.0  # within this a dropped connection was closed before it took the request
LARGE_BODY_BYTES = 1 << 20  # above this aiohttp wants a file, which it sends in pieces


class EngineClient:
    """Requests to one endpoint. `open()` before use, `close()` after; both may be repeated."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        base = endpoint.base_url.rstrip("/")
        self._urls = {path: URL(base + path.removeprefix("/v1")) for path in ENDPOINTS}
        self._origin = URL(base).origin()
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Prepare a session inside the running loop; nothing is connected yet."""
        if self._session is None:
            self._session = _session(self._endpoint)

    async def close(self) -> None:
        """Close every connection; requests still in flight raise EngineConnectionError."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, path: str, body: bytes, timeout_s: float) -> EngineAnswer:
        """One of ENDPOINTS. Raises EngineConnectionError and EngineTimeoutError."""
        url = self._urls[path]
        sent = time.monotonic()
        try:
            return await self._send("POST", url, body, timeout_s)
        except _DroppedError:
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
        url = URL(self._endpoint.base_url.rstrip("/") + "/models")
        return await self._send("GET", url, None, timeout_s)

    async def _send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        if self._session is None:
            raise EngineConnectionError(f"{self._where()}: the engine is not started")
        try:
            async with self._session.request(
                method,
                url,
                data=_payload(body),
                timeout=self._timeout(timeout_s),
                allow_redirects=False,
            ) as answer:
                return EngineAnswer(
                    answer.status, await answer.read(), retry_after_s(answer.headers)
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineConnectionError(
                f"{self._where()}: no connection within {CONNECT_TIMEOUT_S:g} s"
            ) from error
        except TimeoutError as error:
            raise EngineTimeoutError(f"{self._where()}: no answer in {timeout_s:g} s") from error
        except aiohttp.ServerDisconnectedError as error:
            raise _DroppedError(f"{self._where()}: the connection was closed") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineConnectionError(f"{self._where()}: {_said(error)}") from error
        except RuntimeError as error:
            if self._session is None:  # closed by stop() in mid-request
                raise EngineConnectionError(f"{self._where()}: the engine was stopped") from error
            raise

    def _timeout(self, timeout_s: float) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(timeout_s)
        if known is None:
            self._timeouts.clear()  # a runner uses one or two values; never keep many
            known = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
            self._timeouts[timeout_s] = known
        return known

    def _where(self) -> str:
        return self._endpoint.unix_socket or str(self._origin)


class _DroppedError(EngineConnectionError):
    """The peer closed the connection before it answered anything."""


def _session(endpoint: Endpoint) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if endpoint.unix_socket is not None:
        connector = aiohttp.UnixConnector(
            endpoint.unix_socket, limit=0, keepalive_timeout=KEEP_ALIVE_S
        )
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=60)
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **{name: value.reveal() for name, value in endpoint.headers.items()},
    }
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers=headers,
    )


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    if body is None or len(body) <= LARGE_BODY_BYTES:
        return body
    return io.BytesIO(body)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (number or date); None without either.

    `now_s` is Unix time, by default the clock's.
    """
    milliseconds = headers.get("retry-after-ms")
    value = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return _sane_s(float(milliseconds) / 1000)
        return None if value is None else _sane_s(float(value))
    except ValueError:
        return _until_date(value or "", time.time() if now_s is None else now_s)


def _sane_s(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until_date(value: str, now_s: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return None


async def wait_until_served(client: EngineClient, path: str, poll_s: float = 0.1) -> None:
    """Return once GET `path` answers 200. Bound it in time from outside."""
    while True:
        try:
            if (await client.get(path, timeout_s=5.0)).status == 200:
                return
        except (EngineConnectionError, EngineTimeoutError):
            pass
        await asyncio.sleep(poll_s)
