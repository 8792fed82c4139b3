"""Rows of batches, read and written for a tenant."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Select, func, insert, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.db import Database
from batch_common.events import BatchCancelling, BatchEvent, BatchSubmitted
from batch_common.ids import new_id
from batch_common.outbox import add_batch_event
from batch_common.state import BATCH_MOVES, BatchStatus, move_batch
from batch_common.tables import batches, chunks
from batch_gateway.batch_object import RUNNING, SHOWN_ERRORS, shorten, to_batch
from batch_gateway.batch_request import BatchRequest
from batch_gateway.errors import ApiError
from batch_gateway.file_store import Draft, publish_file
from batch_gateway.idempotency import Keep, keep_nothing
from batch_gateway.objects import Batch, BatchList, page_ends
from batch_gateway.paging import is_id, read_page
from batch_gateway.task_schemas import FrozenSchema, keep_schema

_SOURCE = "gateway"
_FEW_ERRORS: Final = {
    "sqlite": (
        "CASE WHEN batches.errors IS NOT NULL THEN (SELECT json_group_array(json(value)) "
        "FROM (SELECT value FROM json_each(batches.errors) LIMIT {most})) END"
    ),
    "postgresql": "jsonb_path_query_array(batches.errors, '$[0 to {most}]')",
}


class BatchStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        tenant: str,
        wanted: BatchRequest,
        traceparent: str,
        keep: Keep = keep_nothing,
        schema: FrozenSchema | None = None,
    ) -> Batch:
        """The row, its task schema's, and `batch.submitted` in one transaction."""
        async with self._database.write("batch create") as conn:
            if schema is not None:
                await keep_schema(conn, schema)
                wanted = msgspec.structs.replace(wanted, task_schema=schema.id)
            return await insert_batch(conn, tenant, wanted, traceparent, keep)

    async def create_with_file(
        self, tenant: str, wanted: BatchRequest, draft: Draft, traceparent: str, keep: Keep
    ) -> Batch:
        """A begun file becomes visible and the input of a new batch, in one transaction."""
        async with self._database.write("batch create with file") as conn:
            await publish_file(conn, wanted.input_file_id, draft)
            return await insert_batch(conn, tenant, wanted, traceparent, keep)

    async def row(self, tenant: str, batch_id: str) -> Row[Any]:
        """As it stands in the table. Raises ApiError (404)."""
        async with self._database.read() as conn:
            return await _row(conn, tenant, batch_id)

    async def find(self, tenant: str, batch_id: str) -> Batch:
        """Raises ApiError (404)."""
        async with self._database.read() as conn:
            return await _find(conn, tenant, batch_id)

    async def page(self, tenant: str, *, after: str | None, limit: int) -> BatchList:
        """The newest first; of many errors the first few."""
        async with self._database.read() as conn:
            rows, has_more = await read_page(
                conn, _listed(conn), batches, tenant, after=after, limit=limit
            )
            data = [shorten(batch) for batch in await _to_batches(conn, rows)]
        first, last = page_ends(data)
        return BatchList(data=data, first_id=first, last_id=last, has_more=has_more)

    async def current(self, batch_ids: Iterable[str]) -> list[Batch]:
        """Batches of any tenant, for those who were let in before."""
        statement = select(batches).where(batches.c.id.in_(list(batch_ids)))
        async with self._database.read() as conn:
            return await _to_batches(conn, (await conn.execute(statement)).all())

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Asks for cancellation; asking again is fine. Raises ApiError (404, 409)."""
        async with self._database.write("batch cancel") as conn:
            row = await _row(conn, tenant, batch_id, lock=True)
            status = BatchStatus(row.status)
            if BatchStatus.CANCELLING in BATCH_MOVES.get(status, ()):
                _check_window(row)
                at = clock.timestamp()
                await move_batch(conn, batch_id, status, BatchStatus.CANCELLING, at)
                await _announce(conn, BatchCancelling, row, at)
            elif status not in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
                raise ApiError(409, f"Cannot cancel a batch with status '{status}'.", retry=False)
            return await _find(conn, tenant, batch_id)


def _check_window(row: Row[Any]) -> None:
    """Raises ApiError (409) for a batch that is being closed: its lines say `batch_expired`."""
    if row.status != BatchStatus.FINALIZING and row.expires_at <= clock.now():
        raise ApiError(
            409,
            f"Cannot cancel batch '{row.id}': its completion window is over, and it ends without "
            "that, as soon as what is done has been gathered.",
            retry=False,
        )


async def insert_batch(
    conn: AsyncConnection, tenant: str, wanted: BatchRequest, traceparent: str, keep: Keep
) -> Batch:
    """The row and `batch.submitted`, within the caller's transaction."""
    at = clock.timestamp()
    statement = (
        insert(batches)
        .values(
            id=new_id("batch_"),
            tenant=tenant,
            endpoint=wanted.endpoint,
            input_file_id=wanted.input_file_id,
            completion_window=wanted.completion_window,
            status=BatchStatus.VALIDATING,
            created_at=at,
            expires_at=at + wanted.window_s,
            metadata=wanted.metadata,
            output_expires_after_s=wanted.output_expires_after_s,
            task_schema=wanted.task_schema,
            traceparent=traceparent,
        )
        .returning(*batches.c)
    )
    row = (await conn.execute(statement)).one()
    await _announce(conn, BatchSubmitted, row, at)
    batch = to_batch(row, None)
    await keep(conn, batch)
    return batch


async def _row(
    conn: AsyncConnection, tenant: str, batch_id: str, *, lock: bool = False
) -> Row[Any]:
    """`lock`: within a write, so that the status holds until its end."""
    statement = select(batches).where(batches.c.id == batch_id, batches.c.tenant == tenant)
    if lock:
        statement = statement.with_for_update()
    row = (await conn.execute(statement)).first() if is_id(batch_id) else None
    if row is None:
        raise ApiError(404, f"No batch found with id '{batch_id}'.")
    return row


def _listed(conn: AsyncConnection) -> Select[Any]:
    """Rows with a few errors and one more, if there are: a failed batch may have megabytes."""
    few = _FEW_ERRORS[conn.dialect.name]
    columns = [column for column in batches.c if column.name != "errors"]
    errors = literal_column(few.format(most=SHOWN_ERRORS + 1), batches.c.errors.type)
    return select(*columns, errors.label("errors")).select_from(batches)


async def _find(conn: AsyncConnection, tenant: str, batch_id: str) -> Batch:
    return (await _to_batches(conn, [await _row(conn, tenant, batch_id)]))[0]


async def _to_batches(conn: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Batch]:
    running = [row.id for row in rows if row.status in RUNNING]
    progress = await _progress(conn, running) if running else {}
    zero = (0, 0)
    return [
        to_batch(row, progress.get(row.id, zero) if row.status in RUNNING else None) for row in rows
    ]


async def _progress(conn: AsyncConnection, batch_ids: list[str]) -> dict[str, tuple[int, int]]:
    """Completed and failed requests by batch, over its chunks."""
    statement = (
        select(chunks.c.batch_id, func.sum(chunks.c.completed), func.sum(chunks.c.failed))
        .where(chunks.c.batch_id.in_(batch_ids))
        .group_by(chunks.c.batch_id)
    )
    return {
        batch_id: (int(completed), int(failed))
        for batch_id, completed, failed in await conn.execute(statement)
    }


async def _announce(conn: AsyncConnection, kind: type[BatchEvent], row: Row[Any], at: int) -> None:
    event = kind(
        batch_id=row.id,
        tenant=row.tenant,
        endpoint=row.endpoint,
        input_file_id=row.input_file_id,
        at=at,
        metadata=row.metadata,
    )
    await add_batch_event(conn, event, _SOURCE, row.traceparent)
