"""Sending one webhook."""

import importlib.metadata
from typing import Final

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from batch_common import clock, config
from batch_common.errors import ConfigError
from batch_common.logs import get_log
from batch_sinks.ended import EndedBatch
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook.address import open_public_socket
from batch_sinks.webhook.body import encode_body
from batch_sinks.webhook.signature import sign, signing_key, webhook_id

log = get_log(__name__)

_USER_AGENT: Final = f"vllm-batch-server/{importlib.metadata.version('vllm-batch-server')}"
# Above the HTTP client's own limit, whose errors say more.
_MARGIN_S: Final = 1.0


def make_webhook(settings: config.Sinks) -> "WebhookSink":
    """Raises ConfigError."""
    return WebhookSink(settings.webhook)


class WebhookSink:
    """Any 2xx is success; everything else, redirects among it, is a failed attempt."""

    name = "webhook"
    side_by_side = 16

    def __init__(self, settings: config.Webhook, resolver: AbstractResolver | None = None) -> None:
        self._url = _target(settings.url)
        self._key = signing_key(settings.secret)
        self._timeout_s = settings.timeout_s
        self.event_types = frozenset(settings.events)
        self.limit_s = settings.timeout_s + _MARGIN_S
        if not self._key:
            log.warning("webhooks_not_signed", setting="result_handlers.webhook.secret")
        self._client = aiohttp.ClientSession(
            # A connection for each: deliveries are rare, and idle ones die unnoticed.
            connector=aiohttp.TCPConnector(
                force_close=True,
                use_dns_cache=False,
                resolver=resolver,
                socket_factory=None if settings.allow_private else open_public_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        return item.event_type in self.event_types

    async def deliver(self, item: Item, batch: EndedBatch) -> None:  # noqa: ARG002 - as above
        await self.post(item)

    async def post(self, item: Item) -> None:
        """Raises DeliveryError."""
        body = encode_body(item)
        try:
            async with self._client.post(
                self._url, data=body, headers=self._headers(item, body), allow_redirects=False
            ) as response:
                status = response.status
        except TimeoutError as error:
            raise DeliveryError(f"no answer within {self._timeout_s:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise DeliveryError(str(error)) from error  # names host and port only
        except (aiohttp.ClientError, OSError) as error:
            # Their texts may hold the URL, which may hold a secret.
            raise DeliveryError(f"the exchange broke off ({type(error).__name__})") from error
        if not 200 <= status < 300:
            raise DeliveryError(_refusal(status))

    async def close(self) -> None:
        await self._client.close()

    def _headers(self, item: Item, body: bytes) -> dict[str, str]:
        timestamp = clock.timestamp()
        headers = {
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "webhook-id": webhook_id(item),
            "webhook-timestamp": str(timestamp),
        }
        if self._key:
            headers["webhook-signature"] = sign(self._key, webhook_id(item), timestamp, body)
        return headers


def _target(text: str) -> yarl.URL:
    """Its errors keep the URL to themselves: paths and queries of webhooks are often secret."""
    if not text:
        raise ConfigError(
            "the sink webhook is enabled without a target: set result_handlers.webhook.url"
        )
    try:
        url = yarl.URL(text)
    except ValueError:
        url = yarl.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("result_handlers.webhook.url is not a URL of the form https://host/path")
    return url


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"the receiver answered {status}: redirects are not followed, set the final URL"
    return f"the receiver answered {status}"
