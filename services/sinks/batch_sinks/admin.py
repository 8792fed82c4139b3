"""What an administrator asks of deliveries: how each sink stands, and one more try."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, select, update

from batch_common import clock
from batch_common.db import Database
from batch_common.state import DELIVERY_MOVES, DeliveryState, IllegalMoveError
from batch_common.tables import deliveries


class SinkSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries by state. `failing`: those of the pending ones that have failed before."""

    sink: str
    pending: int = 0
    failing: int = 0
    delivered: int = 0
    failed: int = 0
    skipped: int = 0
    # Of a delivery that is pending or failed; the one that was tried last.
    last_error: str | None = None


async def summarise(database: Database) -> list[SinkSummary]:
    """One for each sink that has ever had a delivery, by name."""
    counting = (
        select(
            deliveries.c.sink,
            deliveries.c.state,
            func.count().label("number"),
            func.count(deliveries.c.last_error).label("failing"),
        )
        .group_by(deliveries.c.sink, deliveries.c.state)
        .order_by(deliveries.c.sink)
    )
    async with database.read() as conn:
        counts: dict[str, dict[str, int]] = {}
        for row in (await conn.execute(counting)).all():
            of_sink = counts.setdefault(row.sink, {})
            of_sink[row.state] = row.number
            if row.state == DeliveryState.PENDING:
                of_sink["failing"] = row.failing
        errors = {sink: (await conn.execute(_last_error(sink))).scalar() for sink in counts}
    return [
        SinkSummary(sink=sink, last_error=errors[sink], **numbers)
        for sink, numbers in counts.items()
    ]


def _last_error(sink: str) -> Select[Any]:
    return (
        select(deliveries.c.last_error)
        .where(deliveries.c.sink == sink, deliveries.c.last_error.is_not(None))
        .order_by(deliveries.c.next_at.desc())
        .limit(1)
    )


async def redrive(
    database: Database, *, sink: str | None = None, batch_ids: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Has deliveries that were given up tried once more, now; (batch, sink) of each.

    None and empty: whatever the sink, whatever the batch. One that fails again is given up again.
    """
    if DeliveryState.PENDING not in DELIVERY_MOVES.get(DeliveryState.FAILED, ()):
        raise IllegalMoveError("no move from failed to pending")
    statement = update(deliveries).where(deliveries.c.state == DeliveryState.FAILED)
    if sink is not None:
        statement = statement.where(deliveries.c.sink == sink)
    if batch_ids:
        statement = statement.where(deliveries.c.batch_id.in_(batch_ids))
    values = {"state": DeliveryState.PENDING, "next_at": clock.now(), "claimed_until": None}
    async with database.write("delivery redrive") as conn:
        moved = await conn.execute(
            statement.values(**values).returning(deliveries.c.batch_id, deliveries.c.sink)
        )
        return sorted((row.batch_id, row.sink) for row in moved)
