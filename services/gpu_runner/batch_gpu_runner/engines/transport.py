"""What carries an engine's requests: HTTP over aiohttp to anywhere, or our own over a socket."""

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Protocol

from yarl import URL

from batch_gpu_runner.engines.base import Endpoint, EngineAnswer, EngineConnectionError

CONNECT_TIMEOUT_S = 10.0


class DroppedError(EngineConnectionError):
    """The peer closed the connection before it answered anything."""


class Transport(Protocol):
    """Connections to one endpoint, made as they are needed and kept for the next request."""

    async def send(
        self, method: str, url: URL, body: bytes | None, timeout_s: float
    ) -> EngineAnswer:
        """Raises EngineConnectionError (DroppedError among them) and EngineTimeoutError."""
        ...

    async def close(self) -> None:
        """Close every connection; requests in flight raise EngineConnectionError."""
        ...


def request_headers(endpoint: Endpoint) -> dict[str, str]:
    """What is sent with each request; compressed answers are not asked for."""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **{name: value.reveal() for name, value in endpoint.headers.items()},
    }


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
