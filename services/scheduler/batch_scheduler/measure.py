"""Gauges read from the rows, every few seconds, whoever asks for metrics and how often.

Every scheduler measures, with the lease or without: they show how things stand also when NATS is
away and nobody holds the lease.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Select, case, func, select

from batch_common import clock
from batch_common.db import Database
from batch_common.metrics import show
from batch_common.state import BatchStatus, ChunkState, DeliveryState
from batch_common.tables import batches, chunks, deliveries, outbox, spans
from batch_scheduler import metrics

EVERY_S: Final = 5.0
_RUNNING: Final = (
    BatchStatus.VALIDATING,
    BatchStatus.IN_PROGRESS,
    BatchStatus.FINALIZING,
    BatchStatus.CANCELLING,
)


class Measure:
    """`sinks`: whose deliveries are counted."""

    def __init__(self, database: Database, sinks: Iterable[str]) -> None:
        self._database = database
        self._sinks = tuple(sinks)

    async def look(self) -> bool:
        """Every query finds its rows by an index: what has ended costs nothing."""
        await self._batches()
        await self._work()
        await self._outbox()
        await self._deliveries()
        return False

    async def _batches(self) -> None:
        statement = (
            select(batches.c.status, func.count())
            .where(batches.c.status.in_(_RUNNING))
            .group_by(batches.c.status)
        )
        show(metrics.BATCHES, dict.fromkeys(map(str, _RUNNING), 0.0) | await self._by(statement))

    async def _work(self) -> None:
        lines, tokens = spans.c.end_line - spans.c.next_line, spans.c.tokens
        of_running = (batches.c.id == spans.c.batch_id, batches.c.status == BatchStatus.IN_PROGRESS)
        open_tokens = tokens - spans.c.released_tokens
        pending = select(spans.c.model, func.sum(lines), func.sum(open_tokens)).where(
            *of_running, spans.c.next_line < spans.c.end_line
        )
        left = chunks.c.end_line - chunks.c.first_line - chunks.c.completed - chunks.c.failed
        released = select(chunks.c.model, func.count(), func.sum(left)).where(
            chunks.c.state == ChunkState.RELEASED
        )
        async with self._database.read() as conn:
            waiting = (await conn.execute(pending.group_by(spans.c.model))).all()
            running = (await conn.execute(released.group_by(chunks.c.model))).all()
        # Both kinds of every model that has either: sums of them would miss the others.
        none = dict.fromkeys((row[0] for row in (*waiting, *running)), 0.0)
        show(metrics.PENDING_REQUESTS, none | {row[0]: float(row[1]) for row in waiting})
        show(metrics.PENDING_TOKENS, none | {row[0]: float(row[2]) for row in waiting})
        show(metrics.RELEASED_CHUNKS, none | {row[0]: float(row[1]) for row in running})
        show(metrics.RELEASED_REQUESTS, none | {row[0]: float(row[2]) for row in running})

    async def _outbox(self) -> None:
        statement = select(func.count(), func.min(outbox.c.created_at)).where(
            outbox.c.sent_at.is_(None)
        )
        async with self._database.read() as conn:
            unsent, since = (await conn.execute(statement)).one()
        metrics.OUTBOX_UNSENT.set(unsent)
        metrics.OUTBOX_LAG.set(_age(since))

    async def _deliveries(self) -> None:
        pending = deliveries.c.state == DeliveryState.PENDING
        since = func.min(
            case((pending, func.coalesce(deliveries.c.redriven_at, deliveries.c.created_at)))
        )
        counted = select(
            deliveries.c.sink,
            func.count(case((pending, 1))),
            func.count(case((~pending, 1))),
            since,
        ).where(
            deliveries.c.sink.in_(self._sinks),
            deliveries.c.state.in_((DeliveryState.PENDING, DeliveryState.FAILED)),
        )
        async with self._database.read() as conn:
            rows = (await conn.execute(counted.group_by(deliveries.c.sink))).all()
        none = dict.fromkeys(self._sinks, 0.0)
        show(metrics.DELIVERIES_PENDING, none | {row[0]: float(row[1]) for row in rows})
        show(metrics.DELIVERIES_GIVEN_UP, none | {row[0]: float(row[2]) for row in rows})
        show(metrics.DELIVERY_AGE, none | {row[0]: _age(row[3]) for row in rows})

    async def _by(self, statement: Select[Any]) -> dict[str, float]:
        async with self._database.read() as conn:
            return {name: float(count) for name, count in (await conn.execute(statement)).all()}


def _age(since: float | None) -> float:
    return 0.0 if since is None else max(0.0, clock.now() - since)
