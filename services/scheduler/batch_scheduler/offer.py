"""The message that offers a chunk to its model's runners."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common.events import ChunkReady
from batch_common.keys import chunk_prefix, plan_index, plan_input, plan_schema
from batch_common.outbox import add_chunk_ready
from batch_scheduler.context import SOURCE


async def offer(
    conn: AsyncConnection,
    chunk: Mapping[str, Any],
    *,
    endpoint: str,
    deadline: int,
    traceparent: str | None,
    plan: str | None,
    has_schema: bool,
) -> None:
    """`chunk` has the columns of its row; the message goes out when the transaction commits."""
    batch_id = chunk["batch_id"]
    ready = ChunkReady(
        chunk=chunk["id"],
        generation=chunk["generation"],
        batch_id=batch_id,
        model=chunk["model"],
        endpoint=endpoint,
        input_key=plan_input(batch_id, plan),
        index_key=plan_index(batch_id, plan),
        first_line=chunk["first_line"],
        end_line=chunk["end_line"],
        first_byte=chunk["first_byte"],
        end_byte=chunk["end_byte"],
        prefix=chunk_prefix(batch_id, chunk["id"]),
        deadline=deadline,
        schema_key=plan_schema(batch_id, plan) if has_schema else None,
    )
    await add_chunk_ready(conn, ready, SOURCE, traceparent)
