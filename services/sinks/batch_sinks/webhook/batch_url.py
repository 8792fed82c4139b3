"""The URL that a batch names in its metadata, for its own end alone."""

from aiohttp.abc import AbstractResolver

from batch_common import config
from batch_common.webhooks import URL_KEY, URL_SINK, WebhookUrlError, parse_target
from batch_sinks.ended import EndedBatch
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook.endpoints import FOR_EACH, SIDE_BY_SIDE
from batch_sinks.webhook.sender import Sender, Target
from batch_sinks.webhook.signature import signing_key


class BatchUrlSink:
    """Signed with the configured secret, where there is one: a batch's metadata hold none.

    `settings.by_api`: False skips every delivery.
    """

    name = URL_SINK
    side_by_side = SIDE_BY_SIDE
    for_each = FOR_EACH

    def __init__(self, settings: config.Webhook, resolver: AbstractResolver | None = None) -> None:
        """Raises ConfigError for a secret that cannot be."""
        key = signing_key(settings.secret)
        self._keys = (key,) if key else ()
        self._settings = settings
        self._sender = Sender(settings, resolver)
        self.limit_s = self._sender.limit_s

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        return self._settings.by_api and URL_KEY in batch.metadata

    async def deliver(self, item: Item, batch: EndedBatch) -> None:
        try:
            url = parse_target(batch.metadata[URL_KEY], self._settings)
        except WebhookUrlError as error:
            raise DeliveryError(f"metadata.{URL_KEY}: {error}") from None
        await self._sender.deliver(Target(url, self._keys), item)

    async def close(self) -> None:
        await self._sender.close()
