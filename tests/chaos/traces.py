"""What a failed run leaves for whoever looks into it: rows, and what the streams hold."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
from sqlalchemy import select

from batch_common.config import Database
from batch_common.db import open_database
from batch_common.secret import Secret
from batch_common.tables import batches, chunks, deliveries, leases, outbox, spans
from chaos.system import System

_TABLES = (batches, chunks, deliveries, leases, outbox, spans)


async def keep_traces(system: System) -> None:
    """Writes `rows.jsonl` and `streams.json` into the run's folder, while everything runs."""
    settings = Database(url=Secret(system.postgres.url)) if system.postgres else Database()
    database = open_database(settings, system.data)
    try:
        async with database.read() as conn:
            rows = [
                {"table": table.name, **row._mapping}
                for table in _TABLES
                for row in (await conn.execute(select(table))).all()
            ]
    finally:
        await database.close()
    _write(system.folder / "rows.jsonl", (json.dumps(row, default=_text) for row in rows))
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        client = await nats.connect(system.nats_url, connect_timeout=2)
        streams = [info.as_dict() for info in await client.jetstream().streams_info()]
        await client.close()
        _write(system.folder / "streams.json", [json.dumps(streams, default=str)])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _write(path: Path, lines: Iterator[str] | list[str]) -> None:
    path.write_text("\n".join(lines), "utf-8")
