"""`GET /v1/batches/{id}/results`: the results so far, as JSON Lines in commit order.

Chunks are only ever appended to the order, so an offset means the same bytes for ever.
"""

from typing import Any

from litestar import get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from sqlalchemy import select

from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.formats.content import Part
from batch_common.state import TERMINAL
from batch_common.tables import chunks
from batch_gateway.batch_store import BatchStore
from batch_gateway.content import open_download
from batch_gateway.documented import ERRORS
from batch_gateway.errors import ApiError
from batch_gateway.file_store import FileStore
from batch_gateway.objects import Batch

NEXT_OFFSET = "x-next-offset"
STATUS = "x-batch-status"
FINISHED = "x-batch-finished"

_HEADERS = [
    ResponseHeader(
        name=NEXT_OFFSET, value="0", description="Ask from here next.", documentation_only=True
    ),
    ResponseHeader(
        name=STATUS, value="", description="The batch's status.", documentation_only=True
    ),
    ResponseHeader(
        name=FINISHED,
        value="false",
        description="`true`: these are the last results; nothing will follow.",
        documentation_only=True,
    ),
]


@get(
    "/v1/batches/{batch_id:str}/results",
    responses=ERRORS,
    response_headers=_HEADERS,
    tags=["Batches"],
)
async def batch_results(
    batch_id: FromPath[str],
    tenant: NamedDependency[str],
    batch_store: NamedDependency[BatchStore],
    file_store: NamedDependency[FileStore],
    database: NamedDependency[Database],
    blobs: NamedDependency[BlobStore],
    offset: FromQuery[int] = 0,
) -> Stream:
    """Result lines from byte `offset` on: output and error lines of every chunk that is done."""
    # The status is read first: when it is terminal, no chunk can follow the ones read next.
    batch = await batch_store.find(tenant, batch_id)
    await _check_kept(batch, tenant, file_store)
    parts = await committed_parts(database, batch_id)
    end = sum(part.bytes for part in parts)
    if not 0 <= offset <= end:
        raise ApiError(
            400, f"Invalid 'offset': {offset}. It must be between 0 and {end}.", param="offset"
        )
    return Stream(
        await open_download(blobs, parts, offset, end),
        media_type="application/jsonl",
        headers={
            "content-length": str(end - offset),
            NEXT_OFFSET: str(end),
            STATUS: batch.status,
            FINISHED: "true" if batch.status in TERMINAL else "false",
        },
    )


async def committed_parts(database: Database, batch_id: str) -> list[Part]:
    """Each settled chunk's output, then its errors, in commit order."""
    statement = (
        select(chunks.c.output_key, chunks.c.output_bytes, chunks.c.error_key, chunks.c.error_bytes)
        .where(chunks.c.batch_id == batch_id, chunks.c.commit_seq.is_not(None))
        .order_by(chunks.c.commit_seq)
    )
    async with database.read() as conn:
        rows: Any = (await conn.execute(statement)).all()
    return [
        Part(key, size)
        for row in rows
        for key, size in ((row.output_key, row.output_bytes), (row.error_key, row.error_bytes))
        if key is not None and size
    ]


async def _check_kept(batch: Batch, tenant: str, file_store: FileStore) -> None:
    """Whoever deletes a result file does not want to find its lines here."""
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id is not None and await file_store.find(tenant, file_id) is None:
            raise ApiError(
                404,
                f"The results of batch '{batch.id}' are gone: its file {file_id} was deleted "
                "or has expired.",
            )


ROUTES = [batch_results]
