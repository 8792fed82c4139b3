"""Samples for people who try their endpoint out, sent on the gateway's behalf.

The gateway asks over NATS and does not send itself: so one implementation keeps the rules for
targets, secrets stay between database and signature, and a network policy has one service to let
out.
"""

from collections import Counter
from typing import Final

import msgspec

from batch_common import clock, config
from batch_common.events import TERMINAL_TYPES, WebhookTest, WebhookTested, decode, encode
from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook.body import encode_body
from batch_sinks.webhook.endpoints import Endpoints
from batch_sinks.webhook.sender import Sender

log = get_log(__name__)

# Of one tenant, in this process. The rest is refused at once: nothing waits until nobody listens
# any more, and nobody's endpoint that hangs holds up another tenant's sample.
_FOR_EACH: Final = 2
_BUSY: Final = f"{_FOR_EACH} samples of yours still wait for their endpoints to answer"
# A batch that there never is.
_SAMPLE: Final = "batch_test"


class Tester:
    """Answers `webhook.test`. Sends once, notes nothing, and tries nothing again."""

    def __init__(self, settings: config.Webhook, endpoints: Endpoints) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._sender = Sender(settings)
        self._running: Counter[str] = Counter()

    async def answer(self, request: bytes) -> bytes | None:
        """None, no answer at all, for what is no such request."""
        try:
            wanted = decode(request, WebhookTest)
        except msgspec.DecodeError as error:
            log.warning("not_a_webhook_test", error=str(error))
            return None
        if self._running[wanted.tenant] >= _FOR_EACH:
            return encode(WebhookTested(error=_BUSY, busy=True))
        self._running[wanted.tenant] += 1
        try:
            tested = await self._test(wanted)
        finally:
            self._running -= Counter({wanted.tenant: 1})
        log.info("webhook_tested", endpoint=wanted.endpoint, status=tested.status_code)
        return encode(tested)

    async def close(self) -> None:
        await self._sender.close()

    async def _test(self, wanted: WebhookTest) -> WebhookTested:
        endpoint = await self._endpoints.find(wanted.tenant, wanted.endpoint)
        if endpoint is None or not self._settings.by_api or wanted.event_type not in TERMINAL_TYPES:
            return WebhookTested(error="the sinks service does not send to this endpoint")
        body = encode_body(_sample(wanted))
        try:
            target = endpoint.target(self._settings)
            status = await self._sender.post(target, new_id("wh_"), body)
        except DeliveryError as error:
            return WebhookTested(error=str(error))
        return WebhookTested(status_code=status)


def _sample(wanted: WebhookTest) -> Item:
    return Item(
        sink="",
        batch_id=_SAMPLE,
        tenant=wanted.tenant,
        event_id=new_id("evt_"),
        event_type=wanted.event_type,
        ended_at=clock.timestamp(),
        attempt=1,
    )
