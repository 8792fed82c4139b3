"""Speaking to a gateway over raw HTTP, and making rows that other services would make."""

from typing import Any

import httpx
from sqlalchemy import insert, update

from batch_common import clock, keys
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.ids import new_id
from batch_common.tables import batches, chunks

CHAT = "/v1/chat/completions"


LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


async def make_file(
    http: httpx.AsyncClient, data: bytes = LINE, name: str = "in.jsonl", **fields: str
) -> dict[str, Any]:
    """Uploads over raw HTTP; the File object."""
    answer = await http.post(
        "/v1/files", data={"purpose": "batch", **fields}, files={"file": (name, data)}
    )
    assert answer.status_code == 200, answer.text
    file: dict[str, Any] = answer.json()
    return file


async def make_batch(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Creates a batch over raw HTTP; the Batch object."""
    body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h", **changes}
    answer = await http.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


async def set_batch(database: Database, batch_id: str, **values: Any) -> None:
    """What the scheduler does to the row of a batch."""
    async with database.write("in a test") as conn:
        await conn.execute(update(batches).where(batches.c.id == batch_id).values(**values))


async def start_batch(database: Database, batch_id: str, total: int) -> None:
    await set_batch(
        database, batch_id, status="in_progress", in_progress_at=clock.timestamp(), total=total
    )


async def add_chunk(database: Database, batch_id: str, **values: Any) -> str:
    """A released chunk of ten lines; returns its id."""
    row = {
        "id": new_id("chunk_"),
        "batch_id": batch_id,
        "tenant": "default",
        "model": "m",
        "first_line": 0,
        "end_line": 10,
        "first_byte": 0,
        "end_byte": 100,
        "tokens": 10,
        "state": "released",
        "released_at": clock.now(),
        **values,
    }
    async with database.write("in a test") as conn:
        await conn.execute(insert(chunks).values(**row))
    return str(row["id"])


async def commit_chunk(
    database: Database,
    blobs: BlobStore,
    batch_id: str,
    seq: int,
    output: bytes = b"",
    errors: bytes = b"",
) -> None:
    """A settled chunk with these result lines."""
    chunk_id = new_id("chunk_")
    prefix = keys.chunk_prefix(batch_id, chunk_id)
    values: dict[str, Any] = {"id": chunk_id, "state": "committed", "commit_seq": seq}
    if output:
        key = keys.chunk_output(prefix, "att_1")
        await blobs.put(key, output)
        values |= {"output_key": key, "output_bytes": len(output)}
    if errors:
        key = keys.chunk_errors(prefix, "att_1")
        await blobs.put(key, errors)
        values |= {"error_key": key, "error_bytes": len(errors)}
    lines = (output.count(b"\n"), errors.count(b"\n"))
    await add_chunk(database, batch_id, completed=lines[0], failed=lines[1], **values)
