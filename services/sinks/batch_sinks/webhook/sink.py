"""The webhook that the configuration names: it takes the ends of all tenants' batches."""

import yarl
from aiohttp.abc import AbstractResolver

from batch_common import config
from batch_common.errors import ConfigError
from batch_common.logs import get_log
from batch_common.webhooks import WebhookUrlError, parse_url
from batch_sinks.ended import EndedBatch
from batch_sinks.sink import Item
from batch_sinks.webhook.sender import Sender, Target
from batch_sinks.webhook.signature import signing_key

log = get_log(__name__)


def make_webhook(settings: config.Sinks) -> "WebhookSink":
    """Raises ConfigError."""
    return WebhookSink(settings.webhook)


class WebhookSink:
    name = "webhook"
    side_by_side = 16
    for_each = 16

    def __init__(self, settings: config.Webhook, resolver: AbstractResolver | None = None) -> None:
        key = signing_key(settings.secret)
        self._target = Target(_url(settings.url), (key,) if key else ())
        self.event_types = frozenset(settings.events)
        if not key:
            log.warning("webhooks_not_signed", setting="result_handlers.webhook.secret")
        self._sender = Sender(settings, resolver)
        self.limit_s = self._sender.limit_s

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        return item.event_type in self.event_types

    async def deliver(self, item: Item, batch: EndedBatch) -> None:  # noqa: ARG002 - as above
        await self._sender.deliver(self._target, item)

    async def close(self) -> None:
        await self._sender.close()


def _url(text: str) -> yarl.URL:
    """Its errors keep the URL to themselves: paths and queries of webhooks are often secret."""
    if not text:
        raise ConfigError(
            "the sink webhook is enabled without a target: set result_handlers.webhook.url"
        )
    try:
        return parse_url(text)
    except WebhookUrlError as error:
        raise ConfigError(f"result_handlers.webhook.url: {error}") from None
