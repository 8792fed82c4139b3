"""The endpoints that tenants have made over the API, one delivery for each."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from aiohttp.abc import AbstractResolver
from sqlalchemy import select

from batch_common import clock, config
from batch_common.db import Database
from batch_common.secret import Secret
from batch_common.tables import webhook_endpoints
from batch_common.webhooks import ENDPOINT_SINK, WebhookUrlError, parse_target
from batch_sinks.ended import EndedBatch
from batch_sinks.sink import DeliveryError, Item
from batch_sinks.webhook.sender import Sender, Target
from batch_sinks.webhook.signature import signing_key

# Many tenants share them; each place has its own share, so that one that hangs holds up no other.
SIDE_BY_SIDE: Final = 64
FOR_EACH: Final = 8


class Endpoint(msgspec.Struct, frozen=True):
    """As it is now: whoever corrects a URL or a secret has later attempts follow it."""

    url: str
    event_types: frozenset[str]
    secrets: tuple[Secret, ...]

    def target(self, settings: config.Webhook) -> Target:
        """Raises DeliveryError for a URL that the configuration has come to forbid."""
        try:
            url = parse_target(self.url, settings)
        except WebhookUrlError as error:
            raise DeliveryError(f"the endpoint's url: {error}") from None
        return Target(url, tuple(signing_key(secret) for secret in self.secrets))


class Endpoints:
    """Finds them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """None for one that is deleted, unknown, or another tenant's."""
        statement = select(webhook_endpoints).where(
            webhook_endpoints.c.id == endpoint_id,
            webhook_endpoints.c.tenant == tenant,
            webhook_endpoints.c.deleted_at.is_(None),
        )
        async with self._database.read() as conn:
            row = (await conn.execute(statement)).first()
        if row is None:
            return None
        secrets = (row.secret, *_still_good(row.old_secrets))
        return Endpoint(row.url, frozenset(row.event_types), tuple(map(Secret, secrets)))


def _still_good(old: list[Mapping[str, Any]]) -> Iterator[str]:
    return (kept["secret"] for kept in old if kept["until"] > clock.now())


class EndpointSink:
    """`settings.by_api`: False skips every delivery."""

    name = ENDPOINT_SINK
    side_by_side = SIDE_BY_SIDE
    for_each = FOR_EACH

    def __init__(
        self,
        settings: config.Webhook,
        endpoints: Endpoints,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._sender = Sender(settings, resolver)
        self.limit_s = self._sender.limit_s

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        """A deleted endpoint wants nothing any more."""
        if not self._settings.by_api:
            return False
        endpoint = await self._endpoints.find(item.tenant, item.endpoint)
        return endpoint is not None and item.event_type in endpoint.event_types

    async def deliver(self, item: Item, batch: EndedBatch) -> None:  # noqa: ARG002 - as above
        endpoint = await self._endpoints.find(item.tenant, item.endpoint)
        if endpoint is None:
            raise DeliveryError("the endpoint has just been deleted")
        await self._sender.deliver(endpoint.target(self._settings), item)

    async def close(self) -> None:
        await self._sender.close()
