"""Cutting chunks from spans: ranges of planned lines, each line in exactly one."""

from typing import Any

import msgspec
from sqlalchemy import Select, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, spans
from batch_scheduler.context import AnyRow, Context
from batch_scheduler.plan_store import read_records
from batch_scheduler.sizing import chunk_end


class OpenSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a span that is in no chunk yet, with what a chunk says of its batch."""

    batch_id: str
    tenant: str
    endpoint: str
    deadline: int
    traceparent: str | None
    plan: str | None
    task_schema: str | None
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


def open_spans() -> Select[Any]:
    """Spans with lines in no chunk yet, as `open_span` reads them."""
    return select(
        spans.c.batch_id,
        batches.c.tenant,
        batches.c.endpoint,
        batches.c.expires_at.label("deadline"),
        batches.c.traceparent,
        batches.c.plan,
        batches.c.task_schema,
        spans.c.ordinal,
        spans.c.model,
        spans.c.next_line,
        spans.c.next_byte,
        spans.c.end_line,
    ).where(batches.c.id == spans.c.batch_id, spans.c.next_line < spans.c.end_line)


def open_span(row: AnyRow) -> OpenSpan:
    return OpenSpan(**row._mapping)  # noqa: SLF001 - public in SQLAlchemy, despite its name


async def cut_span(context: Context, span: OpenSpan, wanted: int, max_bytes: int) -> Cut:
    """A chunk of up to `wanted` lines and about `max_bytes`, from where the span stands.

    Raises PlanLostError, BlobUnavailableError.
    """
    end_line = min(span.next_line + wanted, span.end_line)
    index = await read_records(context.blobs, span.batch_id, span.plan, span.next_line, end_line)
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
