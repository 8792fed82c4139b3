"""`GET /v1/batches/{id}/deliveries`: where a batch's results have gone, and where they wait."""

from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy import select

from batch_common.db import Database
from batch_common.tables import deliveries
from batch_gateway.batch_store import BatchStore
from batch_gateway.documented import ERRORS


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One sink's. Times are Unix seconds; null: there is none."""

    object: Literal["batch.delivery"] = "batch.delivery"
    batch_id: str
    sink: str
    # Of the sink webhook_endpoint: which one.
    webhook_endpoint_id: str | None
    status: Literal["pending", "delivered", "skipped", "failed"]
    event_type: str
    attempts: int
    # When the next attempt is due, while it is pending.
    next_attempt_at: int | None
    delivered_at: int | None
    # What the last attempt that failed ended with.
    last_error: str | None
    # Where to look at what was delivered.
    link: str | None


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Delivery]
    has_more: Literal[False] = False


@get("/v1/batches/{batch_id:str}/deliveries", responses=ERRORS, tags=["Batches"])
async def batch_deliveries(
    batch_id: FromPath[str],
    tenant: NamedDependency[str],
    batch_store: NamedDependency[BatchStore],
    database: NamedDependency[Database],
) -> DeliveryList:
    """One for each sink and endpoint. Empty until the batch has ended, and without sinks."""
    await batch_store.find(tenant, batch_id)
    statement = select(deliveries).where(
        deliveries.c.batch_id == batch_id, deliveries.c.tenant == tenant
    )
    async with database.read() as conn:
        rows = (
            await conn.execute(statement.order_by(deliveries.c.sink, deliveries.c.endpoint))
        ).all()
    return DeliveryList(
        data=[
            Delivery(
                batch_id=row.batch_id,
                sink=row.sink,
                webhook_endpoint_id=row.endpoint or None,
                status=row.state,
                event_type=row.event_type,
                attempts=row.attempts,
                next_attempt_at=int(row.next_at) if row.state == "pending" else None,
                delivered_at=row.delivered_at,
                last_error=row.last_error,
                link=row.link,
            )
            for row in rows
        ]
    )


ROUTES = [batch_deliveries]
