"""Which deliveries there are to be of a batch's end."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common.config import Sinks
from batch_common.events import BatchEnded
from batch_common.state import DeliveryState
from batch_common.tables import deliveries, webhook_endpoints
from batch_common.webhooks import ENDPOINT_SINK, URL_KEY, URL_SINK
from batch_scheduler.context import AnyRow


async def add_deliveries(
    conn: AsyncConnection, batch: AnyRow, event_id: str, event: BatchEnded, sinks: Sinks
) -> None:
    """A row for each place, in the transaction that ends the batch.

    The places are those of this moment: an endpoint that is made later hears of later ends.
    """
    places = [(sink, "") for sink in sinks.enabled]
    if sinks.webhook.by_api:
        places += [(ENDPOINT_SINK, endpoint) for endpoint in await _endpoints(conn, event)]
        places += [(URL_SINK, "")] if URL_KEY in (batch.metadata or {}) else []
    for sink, endpoint in places:
        await conn.execute(insert(deliveries).values(_row(sink, endpoint, event_id, event)))


def sinks_of(sinks: Sinks) -> tuple[str, ...]:
    """Those that batches may be delivered to."""
    return (*sinks.enabled, *((ENDPOINT_SINK, URL_SINK) if sinks.webhook.by_api else ()))


async def _endpoints(conn: AsyncConnection, event: BatchEnded) -> list[str]:
    """Of the batch's tenant, those that take such events."""
    statement = select(webhook_endpoints.c.id, webhook_endpoints.c.event_types).where(
        webhook_endpoints.c.tenant == event.tenant, webhook_endpoints.c.deleted_at.is_(None)
    )
    rows = (await conn.execute(statement.order_by(webhook_endpoints.c.id))).all()
    return [row.id for row in rows if event.type in row.event_types]


def _row(sink: str, endpoint: str, event_id: str, event: BatchEnded) -> dict[str, object]:
    return {
        "batch_id": event.batch_id,
        "sink": sink,
        "endpoint": endpoint,
        "tenant": event.tenant,
        "event_id": event_id,
        "event_type": event.type,
        "state": DeliveryState.PENDING,
        "attempts": 0,
        "created_at": event.at,
        "next_at": float(event.at),
    }
