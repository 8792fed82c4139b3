"""A batch that has ended, as the sinks see it."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, select

from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.formats.content import Part
from batch_common.keys import plan_index, plan_input
from batch_common.tables import batches, chunks, task_schemas
from batch_common.task_schema import decode_task_schema
from batch_common.webhooks import ENDPOINT_SINK, URL_SINK, WEBHOOKS
from batch_sinks.handler import BatchMetadata, RequestCounts, TokenUsage
from batch_sinks.planned import Range
from batch_sinks.results import ChunkResults, Results
from batch_sinks.sink import DeliveryError, Item

if TYPE_CHECKING:
    from batch_sinks.answer_check import AnswerCheck

# In a batch's metadata: the sinks it wants, by name, separated by commas.
CHOICE: Final = "sinks"


class EndedBatch:
    """Its row is read already; its results when they are asked for."""

    def __init__(self, database: Database, blobs: BlobStore, row: Row[Any]) -> None:
        self._database = database
        self._blobs = blobs
        self._row = row

    @property
    def has_file(self) -> bool:
        return bool(self._row.output_file_id or self._row.error_file_id)

    @property
    def metadata(self) -> dict[str, str]:
        """What the user gave with it."""
        return dict(self._row.metadata or {})

    def wants(self, item: Item) -> bool:
        """Whether the batch's metadata leave this delivery in; without a choice all are."""
        choice = self.metadata.get(CHOICE)
        if choice is None or item.sink == URL_SINK:
            return True
        return not _names(item).isdisjoint(name.strip() for name in choice.split(","))

    def about(self, item: Item) -> BatchMetadata:
        row = self._row
        return BatchMetadata(
            tenant=row.tenant,
            status=row.status,
            endpoint=row.endpoint,
            model=row.model,
            metadata=self.metadata,
            request_counts=RequestCounts(
                total=row.total, completed=row.completed, failed=row.failed
            ),
            usage=TokenUsage(
                input_tokens=row.input_tokens,
                cached_tokens=row.cached_tokens,
                output_tokens=row.output_tokens,
                reasoning_tokens=row.reasoning_tokens,
            ),
            input_file_id=row.input_file_id,
            output_file_id=row.output_file_id,
            error_file_id=row.error_file_id,
            created_at=row.created_at,
            ended_at=item.ended_at,
            event_id=item.event_id,
            event_type=item.event_type,
            attempt=item.attempt,
        )

    async def results(self) -> Results:
        """In commit order, as the API has them."""
        statement = (
            select(chunks)
            .where(chunks.c.batch_id == self._row.id, chunks.c.commit_seq.is_not(None))
            .order_by(chunks.c.commit_seq)
        )
        kept = select(task_schemas.c.content).where(task_schemas.c.id == self._row.task_schema)
        async with self._database.read() as conn:
            rows: Sequence[Row[Any]] = (await conn.execute(statement)).all()
            content = (await conn.execute(kept)).scalar()
        check = None if content is None else await asyncio.to_thread(_make_check, content)
        return Results(self._blobs, [self._chunk(row) for row in rows], check=check)

    def _chunk(self, row: Row[Any]) -> ChunkResults:
        batch = self._row
        return ChunkResults(
            output=_part(row.output_key, row.output_bytes),
            errors=_part(row.error_key, row.error_bytes),
            requests=Range(
                input_key=plan_input(batch.id, batch.plan),
                index_key=plan_index(batch.id, batch.plan),
                first_line=row.first_line,
                end_line=row.end_line,
                first_byte=row.first_byte,
                end_byte=row.end_byte,
            ),
        )


class EndedBatches:
    """Finds them."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def find(self, batch_id: str) -> EndedBatch:
        """Raises DeliveryError for a batch whose row is gone."""
        async with self._database.read() as conn:
            row = (await conn.execute(select(batches).where(batches.c.id == batch_id))).first()
        if row is None:
            raise DeliveryError(f"the database has no batch {batch_id} any more")
        return EndedBatch(self._database, self._blobs, row)


def _make_check(content: bytes) -> "AnswerCheck":
    # Some 10 MiB of a library that batches without a task schema do without.
    from batch_sinks.answer_check import AnswerCheck  # noqa: PLC0415

    return AnswerCheck(decode_task_schema(content))


def _names(item: Item) -> frozenset[str]:
    """What chooses it: endpoints go by the name of all webhooks, and each by its id."""
    if item.sink == ENDPOINT_SINK:
        return frozenset({WEBHOOKS, item.endpoint})
    return frozenset({item.sink})


def _part(key: str | None, size: int) -> Part | None:
    return Part(key, size) if key and size else None
