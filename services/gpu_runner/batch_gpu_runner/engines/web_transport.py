"""HTTP and HTTPS to any host, by aiohttp.

Tuned for many short requests to one server: no cookie jar, no decompression, no limit on
connections (the runner's window is the limit).
"""

import io

import aiohttp
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

KEEP_ALIVE_S = 30.0
LARGE_BODY_BYTES = 1 << 20  # above this aiohttp wants a file, which it sends in pieces


class WebTransport:
    """A `Transport`. Must be made inside the running loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._where = endpoint.base_url
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE_S, ttl_dns_cache=60
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=request_headers(endpoint),
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        try:
            return await self._send(method, url, body, timeout_s)
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineConnectionError(
                f"{self._where}: no connection within {CONNECT_TIMEOUT_S:g} s"
            ) from error
        except TimeoutError as error:
            raise EngineTimeoutError(f"{self._where}: no answer in {timeout_s:g} s") from error
        except aiohttp.ServerDisconnectedError as error:
            raise DroppedError(f"{self._where}: the connection was closed") from error
        except (aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise EngineConnectionError(f"{self._where}: {said}") from error

    async def _send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        if self._session.closed:
            raise EngineConnectionError(f"{self._where}: stopped")
        async with self._session.request(
            method,
            url,
            data=_payload(body),
            timeout=self._timeout(timeout_s),
            allow_redirects=False,
        ) as answer:
            whole = await answer.read()
            return EngineAnswer(answer.status, whole, retry_after_s(answer.headers))

    def _timeout(self, timeout_s: float) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(timeout_s)
        if known is None:
            self._timeouts.clear()  # a runner uses one or two values; never keep many
            known = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
            self._timeouts[timeout_s] = known
        return known


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    if body is None or len(body) <= LARGE_BODY_BYTES:
        return body
    return io.BytesIO(body)
