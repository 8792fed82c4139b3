"""What an administrator asks of deliveries: how each sink stands, and new tries at once."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, or_, select, update

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


class Redriven(msgspec.Struct, frozen=True, order=True):
    """A delivery that is tried again now. given_up: it had been, and did not just wait."""

    batch_id: str
    sink: str
    # Of the sink webhook_endpoint; empty for the others.
    endpoint: str
    given_up: bool


async def redrive(
    database: Database, *, sink: str | None = None, batch_ids: Sequence[str] = ()
) -> list[Redriven]:
    """Has deliveries that were given up, or wait for their next try, tried now.

    Their time for tries begins anew. None and empty: whatever the sink, whatever the batch.
    """
    if DeliveryState.PENDING not in DELIVERY_MOVES.get(DeliveryState.FAILED, ()):
        raise IllegalMoveError("no move from failed to pending")
    now = clock.now()
    wanted = []
    if sink is not None:
        wanted.append(deliveries.c.sink == sink)
    if batch_ids:
        wanted.append(deliveries.c.batch_id.in_(batch_ids))
    statement = (
        update(deliveries)
        .where(*wanted)
        .values(
            state=DeliveryState.PENDING,
            next_at=now,
            claimed_until=None,
            redriven_at=now,
            attempts_before=deliveries.c.attempts,
        )
        .returning(deliveries.c.batch_id, deliveries.c.sink, deliveries.c.endpoint)
    )
    until = deliveries.c.claimed_until
    failed = deliveries.c.state == DeliveryState.FAILED
    # One that is claimed is being tried.
    waits = (
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.next_at > now,
        or_(until.is_(None), until < now),
    )
    async with database.write("delivery redrive") as conn:
        # In this order: what the second one finds, the first one has not moved.
        hurried = (await conn.execute(statement.where(*waits))).all()
        moved = (await conn.execute(statement.where(failed))).all()
    return sorted(
        Redriven(row.batch_id, row.sink, row.endpoint, given_up)
        for rows, given_up in ((hurried, False), (moved, True))
        for row in rows
    )


async def unknown_batches(database: Database, batch_ids: Sequence[str]) -> list[str]:
    """Those of the batches that have no delivery at all."""
    statement = select(deliveries.c.batch_id).where(deliveries.c.batch_id.in_(batch_ids)).distinct()
    async with database.read() as conn:
        known = set((await conn.execute(statement)).scalars())
    return [batch_id for batch_id in batch_ids if batch_id not in known]
