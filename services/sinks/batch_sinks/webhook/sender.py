"""Sending one webhook: the only place from which this system speaks to targets that users name."""

import importlib.metadata
from typing import Final

import aiohttp
import msgspec
import yarl
from aiohttp.abc import AbstractResolver

from batch_common import clock, config
from batch_common.logs import get_log
from batch_sinks.metrics import WEBHOOK_POSTS
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook.address import PRIVATE, note_refused, open_public_socket
from batch_sinks.webhook.body import encode_body
from batch_sinks.webhook.resolver import OwnThreadsResolver
from batch_sinks.webhook.signature import sign, webhook_id

log = get_log(__name__)

_USER_AGENT: Final = f"vllm-batch-server/{importlib.metadata.version('vllm-batch-server')}"
# Above the HTTP client's own limit, whose errors say more.
_MARGIN_S: Final = 1.0


class Target(msgspec.Struct, frozen=True):
    """Where to, and what signs it: a signature for each key, none without keys."""

    url: yarl.URL
    keys: tuple[bytes, ...]


class Sender:
    """Any 2xx is success; everything else, redirects among it, is a failed attempt.

    Proxies of the environment are not used: they would connect to what they are told, and the
    look at the address would be at theirs.
    """

    def __init__(self, settings: config.Webhook, resolver: AbstractResolver | None = None) -> None:
        self._timeout_s = settings.timeout_s
        self.limit_s = settings.timeout_s + _MARGIN_S
        self._client = aiohttp.ClientSession(
            # A connection for each: deliveries are rare, and idle ones die unnoticed.
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                use_dns_cache=False,
                resolver=resolver or OwnThreadsResolver(),
                socket_factory=None if settings.allow_private else open_public_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def deliver(self, target: Target, item: Item) -> None:
        """Raises DeliveryError."""
        status = await self.post(target, webhook_id(item), encode_body(item))
        if not 200 <= status < 300:
            raise DeliveryError(_refusal(status))

    async def post(self, target: Target, message_id: str, body: bytes) -> int:
        """The status that was answered, whatever it is. Raises DeliveryError where there is none.

        Its text is for the target's owner and holds no secrets.
        """
        refused = note_refused()
        try:
            async with self._client.post(
                target.url,
                data=body,
                headers=_headers(target, message_id, body),
                allow_redirects=False,
            ) as response:
                status = response.status
        except TimeoutError as error:
            raise _failed("timeout", f"no answer within {self._timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise _not_connected(error, private=bool(refused)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts may hold the URL, which may hold a secret. ValueError: it cannot be sent.
            kind = type(error).__name__
            raise _failed("broken", f"the exchange broke off ({kind})") from error
        WEBHOOK_POSTS.labels(f"{status // 100}xx").inc()
        return status

    async def close(self) -> None:
        await self._client.close()


def _not_connected(error: aiohttp.ClientConnectorError, *, private: bool) -> DeliveryError:
    """What a name resolves to, and what the system says of it, is for the log only."""
    host = f"[{error.host}]" if ":" in error.host else error.host
    place = f"cannot connect to {host}:{error.port}"
    log.warning("webhook_not_connected", host=error.host, port=error.port, error=str(error))
    if private:
        return _failed("private", f"{place}: {PRIVATE}")
    if isinstance(error, aiohttp.ClientSSLError):
        return _failed("unreachable", f"{place}: TLS failed, or its certificate is not valid")
    return _failed("unreachable", place)


def _failed(outcome: str, text: str) -> DeliveryError:
    WEBHOOK_POSTS.labels(outcome).inc()
    return DeliveryError(text)


def _headers(target: Target, message_id: str, body: bytes) -> dict[str, str]:
    timestamp = clock.timestamp()
    headers = {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
    }
    if target.keys:
        headers["webhook-signature"] = sign(target.keys, message_id, timestamp, body)
    return headers


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"the receiver answered {status}: redirects are not followed, set the final URL"
    return f"the receiver answered {status}"
