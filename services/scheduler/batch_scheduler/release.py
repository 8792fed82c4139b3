"""Handing out chunks: ranges of planned lines, cut when a runner is about to need them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
from sqlalchemy import Select, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.config import Scheduler
from batch_common.errors import BlobNotFoundError
from batch_common.formats.plan import read_index, record_range
from batch_common.keys import plan_index
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks, spans
from batch_scheduler.context import AnyRow, Context
from batch_scheduler.fairness import Ring, charge, most_urgent, turn
from batch_scheduler.metrics import CHUNKS, OUTSTANDING, PENDING
from batch_scheduler.offer import offer
from batch_scheduler.sizing import Demand, Limits, chunk_end, wanted_lines

log = get_log(__name__)

# Chunks of one transaction: on SQLite the other writers wait for it.
_AT_ONCE: Final = 8


class OpenSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a span that is in no chunk yet, with what a chunk says of its batch."""

    batch_id: str
    tenant: str
    endpoint: str
    deadline: int
    traceparent: str | None
    ordinal: int
    model: str
    next_line: int
    next_byte: int
    end_line: int


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that is to be."""

    span: OpenSpan
    lines: int
    bytes: int
    tokens: int

    @property
    def chunk(self) -> str:
        return chunk_id(self.span.batch_id, self.span.next_line)

    @property
    def end_line(self) -> int:
        return self.span.next_line + self.lines

    @property
    def end_byte(self) -> int:
        return self.span.next_byte + self.bytes

    @property
    def rest(self) -> OpenSpan:
        return msgspec.structs.replace(self.span, next_line=self.end_line, next_byte=self.end_byte)


def chunk_id(batch_id: str, first_line: int) -> str:
    """Each line is in one chunk, so its first line names a chunk within its batch."""
    return f"chunk_{batch_id.removeprefix('batch_')}_{first_line}"


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
        CHUNKS.labels("released").inc(released)
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
        _show(waiting, outstanding)
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
            except BlobNotFoundError as error:
                # Its plan is lost; the others go on.
                log.warning("plan_missing", batch=span.batch_id, error=str(error))
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
        released = 0
        async with self._context.database.write() as conn:
            for cut in cuts:
                if await advance(conn, cut, BatchStatus.IN_PROGRESS):
                    await _insert(conn, cut)
                    released += 1
        return released


async def cut_span(context: Context, span: OpenSpan, wanted: int, max_bytes: int) -> Cut:
    """A chunk of up to `wanted` lines and about `max_bytes`, from where the span stands."""
    end_line = min(span.next_line + wanted, span.end_line)
    start, end = record_range(span.next_line, end_line)
    index = read_index(await context.blobs.get_range(plan_index(span.batch_id), start, end))
    if len(index) < end_line - span.next_line:
        raise BlobNotFoundError(plan_index(span.batch_id))
    lines = chunk_end(index["length"], wanted, max_bytes)
    return Cut(
        span=span,
        lines=lines,
        bytes=int(index["length"][:lines].sum(dtype="u8")),
        tokens=int(index["tokens"][:lines].sum(dtype="u8")),
    )


async def advance(conn: AsyncConnection, cut: Cut, status: BatchStatus) -> bool:
    """Moves the span past the chunk; False when another scheduler has, or the batch moved on."""
    span = cut.span
    unmoved = exists().where(batches.c.id == span.batch_id, batches.c.status == status)
    statement = (
        update(spans)
        .where(
            spans.c.batch_id == span.batch_id,
            spans.c.ordinal == span.ordinal,
            spans.c.next_line == span.next_line,
            unmoved,
        )
        .values(
            next_line=cut.end_line,
            next_byte=cut.end_byte,
            released_tokens=spans.c.released_tokens + cut.tokens,
        )
    )
    return (await conn.execute(statement)).rowcount == 1


def chunk_row(cut: Cut, state: ChunkState, released_at: float) -> dict[str, object]:
    span = cut.span
    return {
        "id": cut.chunk,
        "batch_id": span.batch_id,
        "tenant": span.tenant,
        "model": span.model,
        "first_line": span.next_line,
        "end_line": cut.end_line,
        "first_byte": span.next_byte,
        "end_byte": cut.end_byte,
        "tokens": cut.tokens,
        "state": state,
        "generation": 1,
        "released_at": released_at,
    }


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
    )


def open_spans() -> Select[Any]:
    """Spans with lines in no chunk yet, as `open_span` reads them."""
    return select(
        spans.c.batch_id,
        batches.c.tenant,
        batches.c.endpoint,
        batches.c.expires_at.label("deadline"),
        batches.c.traceparent,
        spans.c.ordinal,
        spans.c.model,
        spans.c.next_line,
        spans.c.next_byte,
        spans.c.end_line,
    ).where(batches.c.id == spans.c.batch_id, spans.c.next_line < spans.c.end_line)


def _waiting(now: float) -> Select[Any]:
    return (
        open_spans()
        .where(batches.c.status == BatchStatus.IN_PROGRESS, batches.c.expires_at > now)
        .order_by(spans.c.model, spans.c.batch_id, spans.c.ordinal)
    )


def open_span(row: AnyRow) -> OpenSpan:
    return OpenSpan(**row._mapping)  # noqa: SLF001 - public in SQLAlchemy, despite its name


def _show(waiting: list[OpenSpan], outstanding: dict[str, int]) -> None:
    OUTSTANDING.clear()
    for model, count in outstanding.items():
        OUTSTANDING.labels(model).set(count)
    PENDING.clear()
    for span in waiting:
        PENDING.labels(span.model).inc(span.end_line - span.next_line)
