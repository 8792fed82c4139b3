"""Samples of events for webhook endpoints: the sinks service sends them when it is asked."""

from typing import Final

from batch_common import subjects
from batch_common.bus import Bus
from batch_common.config import Webhook
from batch_common.errors import BusUnavailableError
from batch_common.events import WebhookTest, WebhookTested, decode, encode
from batch_gateway.errors import ApiError
from batch_gateway.webhook_objects import WebhookEndpointTest

# Beyond the time that the endpoint has, for the way there and back.
_MARGIN_S: Final = 5.0


class Samples:
    def __init__(self, bus: Bus, settings: Webhook) -> None:
        self._bus = bus
        self._limit_s = settings.timeout_s + _MARGIN_S

    async def send(self, tenant: str, endpoint_id: str, event_type: str) -> WebhookEndpointTest:
        """One, now, and not again.

        Raises ApiError: 400 where the endpoint did not answer, 429 while others of the tenant's
        wait for their answers, 503 where nobody sends.
        """
        wanted = WebhookTest(tenant=tenant, endpoint=endpoint_id, event_type=event_type)
        tested = await self._ask(wanted)
        if tested.busy:
            raise ApiError(
                429,
                f"The sample was not sent: {tested.error}. Try again once they have.",
                code="too_many_webhook_tests",
                headers={"retry-after": "1"},
            )
        if tested.status_code is None:
            raise ApiError(
                400,
                f"The webhook endpoint did not answer: {tested.error}.",
                code="webhook_endpoint_unreachable",
            )
        return WebhookEndpointTest(
            webhook_endpoint_id=endpoint_id, event_type=event_type, status_code=tested.status_code
        )

    async def _ask(self, wanted: WebhookTest) -> WebhookTested:
        try:
            said = await self._bus.ask(subjects.WEBHOOK_TEST, encode(wanted), self._limit_s)
        except BusUnavailableError as error:
            raise ApiError(
                503,
                "No sinks service sent the sample: see that one is running (`vllm-batch sinks`), "
                "and try again.",
                headers={"retry-after": "1"},
            ) from error
        return decode(said, WebhookTested)
