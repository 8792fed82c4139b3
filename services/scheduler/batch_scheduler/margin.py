"""Whether batches will be done within their windows, as far as the runners' speed tells."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Select, func, select

from batch_common import clock
from batch_common.metrics import show
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks, spans
from batch_scheduler.context import Context
from batch_scheduler.metrics import MARGIN, RATE, RUNNERS


class Work(msgspec.Struct, frozen=True):
    """What one batch has left for one model. deadline: Unix seconds."""

    deadline: int
    requests: int


def margin_s(work: Iterable[Work], requests_per_s: float | None, now: float) -> float:
    """The smallest rest of any batch's window once it is done, done in the order of deadlines.

    Below 0 a batch will not be done in time. Without a rate, as if work took none.
    """
    smallest, ahead = float("inf"), 0
    for each in sorted(work, key=lambda each: each.deadline):
        ahead += each.requests
        needed_s = ahead / requests_per_s if requests_per_s else 0.0
        smallest = min(smallest, each.deadline - now - needed_s)
    return smallest


async def show_fleet(context: Context) -> bool:
    """Runners, rates and margins of every model, for Prometheus."""
    by_model = await _look(context)
    models = by_model.keys() | context.fleet.present
    fleet = {model: context.fleet.of(model) for model in models}
    rates = {model: seen.requests_per_s or context.rates.of(model) for model, seen in fleet.items()}
    show(RUNNERS, {model: float(seen.runners) for model, seen in fleet.items()})
    show(RATE, {model: rate or 0.0 for model, rate in rates.items()})
    now = clock.now()
    margins = {model: margin_s(work, rates[model], now) for model, work in by_model.items()}
    show(MARGIN, margins, forget=True)
    return False


def hide_fleet() -> None:
    """What this process last saw is no longer true: another one looks."""
    for gauge in (RUNNERS, RATE, MARGIN):
        show(gauge, {}, forget=True)


async def _look(context: Context) -> Mapping[str, list[Work]]:
    left: dict[tuple[str, str, int], int] = defaultdict(int)
    async with context.database.read() as conn:
        for statement in (_pending(), _released()):
            for model, batch_id, deadline, requests in await conn.execute(statement):
                left[model, batch_id, deadline] += int(requests)
    by_model: dict[str, list[Work]] = defaultdict(list)
    for (model, _, deadline), requests in left.items():
        by_model[model].append(Work(deadline, requests))
    return by_model


def _pending() -> Select[Any]:
    lines = func.sum(spans.c.end_line - spans.c.next_line)
    return (
        select(spans.c.model, batches.c.id, batches.c.expires_at, lines)
        .where(
            batches.c.id == spans.c.batch_id,
            batches.c.status == BatchStatus.IN_PROGRESS,
            spans.c.next_line < spans.c.end_line,
        )
        .group_by(spans.c.model, batches.c.id, batches.c.expires_at)
    )


def _released() -> Select[Any]:
    left = chunks.c.end_line - chunks.c.first_line - chunks.c.completed - chunks.c.failed
    return (
        select(chunks.c.model, batches.c.id, batches.c.expires_at, func.sum(left))
        .where(
            batches.c.id == chunks.c.batch_id,
            batches.c.status == BatchStatus.IN_PROGRESS,
            chunks.c.state == ChunkState.RELEASED,
        )
        .group_by(chunks.c.model, batches.c.id, batches.c.expires_at)
    )
