"""Handing out chunks: ranges of planned lines, cut when a runner is about to need them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.config import Scheduler
from batch_common.errors import BlobUnavailableError
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks, spans
from batch_scheduler.context import Context
from batch_scheduler.cut import Cut, OpenSpan, advance, chunk_row, cut_span, open_span, open_spans
from batch_scheduler.fairness import Ring, charge, most_urgent, turn
from batch_scheduler.metrics import CHUNKS
from batch_scheduler.offer import offer
from batch_scheduler.plan_store import PlanLostError
from batch_scheduler.sizing import Demand, Limits, wanted_lines

log = get_log(__name__)

# Chunks of one transaction: on SQLite the other writers wait for it.
_AT_ONCE: Final = 8


def limits_of(settings: Scheduler) -> Limits:
    return Limits(
        max_requests=settings.chunk_max_requests,
        max_bytes=settings.chunk_max_bytes,
        target_s=settings.chunk_target_s,
        first_requests=settings.chunk_first_requests,
    )


class Releaser:
    """Keeps a few chunks outstanding for each runner of each model."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.config.scheduler
        self._limits = limits_of(self._settings)
        # One ring of tenants for each model; lost with the process, which costs a round.
        self._rings: dict[str, Ring] = {}

    async def release(self) -> bool:
        """Fills every model's places; True when there may be more to do at once."""
        waiting, outstanding = await self._look()
        cuts: list[Cut] = []
        for model, group in groupby(waiting, key=lambda span: span.model):
            places = self._places(model) - outstanding.get(model, 0)
            cuts += await self._cut(model, list(group), min(places, _AT_ONCE))
        if not cuts:
            return False
        released = await self._hand_out(cuts[:_AT_ONCE])
        return released > 0

    def _places(self, model: str) -> int:
        """One runner's worth without any, so that demand is visible."""
        return self._settings.chunks_per_runner * max(self._context.fleet.of(model).runners, 1)

    async def _look(self) -> tuple[list[OpenSpan], dict[str, int]]:
        async with self._context.database.read() as conn:
            waiting = [open_span(row) for row in await conn.execute(_waiting(clock.now()))]
            counted = await conn.execute(
                select(chunks.c.model, func.count().label("chunks"))
                .where(chunks.c.state == ChunkState.RELEASED)
                .group_by(chunks.c.model)
            )
            outstanding = {row.model: row.chunks for row in counted}
        return waiting, outstanding

    async def _cut(self, model: str, waiting: list[OpenSpan], places: int) -> list[Cut]:
        """At most `places` chunks, each of the tenant and batch whose turn it is."""
        cuts: list[Cut] = []
        while waiting and len(cuts) < places:
            ring = turn(self._rings.get(model, ()), (span.tenant for span in waiting))
            span = most_urgent(waiting, ring[0].tenant)
            waiting.remove(span)
            try:
                cut = await self._cut_one(span, self._demand(model, [span, *waiting]))
            except PlanLostError as error:
                log.warning("plan_missing", batch=span.batch_id, error=str(error))
                self._context.wakes.plan_missing(span.batch_id)
                continue
            except BlobUnavailableError as error:
                # The others go on; this one's turn comes again with the next look.
                log.warning("plan_unreadable", batch=span.batch_id, error=str(error))
                continue
            self._rings[model] = charge(ring, cut.tokens)
            cuts.append(cut)
            if cut.end_line < span.end_line:
                waiting.append(cut.rest)
        return cuts

    def _demand(self, model: str, waiting: Sequence[OpenSpan]) -> Demand:
        fleet = self._context.fleet.of(model)
        return Demand(
            remaining=sum(span.end_line - span.next_line for span in waiting),
            runners=fleet.runners,
            requests_per_s=fleet.requests_per_s or self._context.rates.of(model),
        )

    async def _cut_one(self, span: OpenSpan, demand: Demand) -> Cut:
        wanted = wanted_lines(self._limits, demand)
        return await cut_span(self._context, span, wanted, self._limits.max_bytes)

    async def _hand_out(self, cuts: list[Cut]) -> int:
        """How many of them nobody else has handed out first."""
        released: list[Cut] = []
        async with self._context.database.write("chunk release") as conn:
            for cut in cuts:
                if await advance(conn, cut, BatchStatus.IN_PROGRESS):
                    await _insert(conn, cut)
                    released.append(cut)
        for cut in released:
            CHUNKS.labels(cut.span.model, "released").inc()
        return len(released)


async def _insert(conn: AsyncConnection, cut: Cut) -> None:
    row = chunk_row(cut, ChunkState.RELEASED, clock.now())
    await conn.execute(insert(chunks).values(row))
    span = cut.span
    await offer(
        conn,
        row,
        endpoint=span.endpoint,
        deadline=span.deadline,
        traceparent=span.traceparent,
        plan=span.plan,
        has_schema=span.task_schema is not None,
    )


def _waiting(now: float) -> Select[Any]:
    return (
        open_spans()
        .where(
            batches.c.status == BatchStatus.IN_PROGRESS,
            batches.c.expires_at > now,
            batches.c.plan_lost_at.is_(None),
        )
        .order_by(spans.c.model, spans.c.batch_id, spans.c.ordinal)
    )
