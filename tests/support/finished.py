"""Batches that have ended, as runner and scheduler leave them: plan, chunks, files, rows, event.

Planned order is the file's backwards, and results stand in yet another order, so that nothing
fits by chance.
"""

from typing import Any

import msgspec
import numpy as np
from sqlalchemy import insert

from batch_common import clock, keys
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.events import BATCH_EVENTS, BatchEnded, Counts
from batch_common.formats.content import Content, Part, encode_content
from batch_common.formats.plan import RECORD
from batch_common.formats.result import result_id
from batch_common.ids import new_id
from batch_common.outbox import add_batch_event
from batch_common.tables import batches, chunks, deliveries, files
from support.requests import CHAT, chat_line

ENDED = {event.type: event for event in BATCH_EVENTS if issubclass(event, BatchEnded)}
PLAN = "p1"


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be: line n (from 1) has the custom id `r<n>`; every `fails`th has an error."""

    lines: int = 0
    chunk_lines: int = 100
    fails: int = 0
    # Bytes of each answer.
    answer: int = 10
    # Their texts, in turn, in place of those.
    texts: tuple[str, ...] = ()
    # The id of the row of a task schema.
    task_schema: str | None = None
    kind: str = "batch.completed"
    # A name, or name/endpoint.
    sinks: tuple[str, ...] = ("webhook",)
    metadata: dict[str, str] | None = None
    # Whether the delivery rows and the event are written.
    row: bool = True
    event: bool = True

    def failed(self, line: int) -> bool:
        return bool(self.fails) and line % self.fails == 0

    def request(self, line: int) -> dict[str, Any]:
        return chat_line(f"r{line}", f"question {line}")

    def result(self, batch_id: str, line: int) -> dict[str, Any]:
        error = {"code": "request_timeout", "message": "too late"}
        text = f"answer {line}".ljust(self.answer, ".")
        if self.texts:
            text = self.texts[line % len(self.texts)]
        body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        response = {"status_code": 200, "request_id": f"req_{line}", "body": body}
        return {
            "id": result_id(batch_id, line),
            "custom_id": f"r{line}",
            "response": None if self.failed(line) else response,
            "error": error if self.failed(line) else None,
        }


async def finish(database: Database, blobs: BlobStore, wanted: Finished) -> str:
    """The batch's id, once everything of it is there."""
    batch_id, at = new_id("batch_"), clock.timestamp()
    rows = [row async for row in _write_chunks(blobs, batch_id, wanted)]
    await _write_plan(blobs, batch_id, wanted)
    made = [await _write_file(blobs, batch_id, name, rows, at) for name in ("output", "error")]
    async with database.write("in a test") as conn:
        for table, values in ((files, [file for file in made if file]), (chunks, rows)):
            if values:
                await conn.execute(insert(table), values)
        await conn.execute(insert(batches).values(_batch(batch_id, wanted, made, at)))
        event_id = new_id("evt_")
        if wanted.event:
            event_id = await add_batch_event(conn, _event(batch_id, wanted, at), "scheduler", None)
        for sink in wanted.sinks if wanted.row else ():
            values = _delivery(batch_id, sink, event_id, wanted.kind, at)
            await conn.execute(insert(deliveries).values(**values))
    return batch_id


def _planned(wanted: Finished) -> list[int]:
    return list(range(wanted.lines, 0, -1))


async def _write_plan(blobs: BlobStore, batch_id: str, wanted: Finished) -> None:
    if not wanted.lines:
        return
    lines = [_encoded(wanted.request(line)) for line in _planned(wanted)]
    index = np.zeros(wanted.lines, dtype=RECORD)
    index["length"] = [len(line) for line in lines]
    index["line"] = _planned(wanted)
    await blobs.put(keys.plan_input(batch_id, PLAN), b"".join(lines))
    await blobs.put(keys.plan_index(batch_id, PLAN), index.tobytes())


async def _write_chunks(blobs: BlobStore, batch_id: str, wanted: Finished):
    planned, first_byte = _planned(wanted), 0
    for number, first in enumerate(range(0, wanted.lines, wanted.chunk_lines), start=1):
        part = planned[first : first + wanted.chunk_lines]
        end_byte = first_byte + sum(len(_encoded(wanted.request(line))) for line in part)
        prefix = keys.chunk_prefix(batch_id, f"chunk_{number}")
        good = [line for line in part[::2] + part[1::2] if not wanted.failed(line)]
        bad = [line for line in part if wanted.failed(line)]
        values: dict[str, Any] = {"output_key": None, "output_bytes": 0}
        values |= {"error_key": None, "error_bytes": 0}
        for name, key, found in (
            ("output", keys.chunk_output(prefix, "att_1"), good),
            ("error", keys.chunk_errors(prefix, "att_1"), bad),
        ):
            if found:
                data = b"".join(_encoded(wanted.result(batch_id, line)) for line in found)
                values |= {f"{name}_key": key, f"{name}_bytes": await blobs.put(key, data)}
        yield values | {
            "id": new_id("chunk_"),
            "batch_id": batch_id,
            "tenant": "default",
            "model": "sim",
            "first_line": first,
            "end_line": first + len(part),
            "first_byte": first_byte,
            "end_byte": end_byte,
            "tokens": 1,
            "state": "committed",
            "released_at": 0.0,
            "completed": len(good),
            "failed": len(bad),
            "commit_seq": number,
        }
        first_byte = end_byte


async def _write_file(
    blobs: BlobStore, batch_id: str, name: str, rows: list[dict[str, Any]], at: int
) -> dict[str, Any] | None:
    parts = [Part(row[f"{name}_key"], row[f"{name}_bytes"]) for row in rows if row[f"{name}_key"]]
    if not parts:
        return None
    key = keys.batch_content(batch_id, name)
    await blobs.put(key, encode_content(Content(tuple(parts))))
    return {
        "id": new_id("file-"),
        "tenant": "default",
        "purpose": "batch_output",
        "filename": f"{batch_id}_{name}.jsonl",
        "bytes": sum(part.bytes for part in parts),
        "created_at": at,
        "blob_key": key,
        "composed": True,
    }


def _batch(
    batch_id: str, wanted: Finished, made: list[dict[str, Any] | None], at: int
) -> dict[str, Any]:
    status = wanted.kind.partition(".")[2]
    output, errors = made
    failed = wanted.lines // wanted.fails if wanted.fails else 0
    return {
        "id": batch_id,
        "tenant": "default",
        "endpoint": CHAT,
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": status,
        "model": "sim",
        "output_file_id": output and output["id"],
        "error_file_id": errors and errors["id"],
        "created_at": at,
        "expires_at": at + 86400,
        f"{status}_at": at,
        "total": wanted.lines,
        "completed": wanted.lines - failed,
        "failed": failed,
        "metadata": wanted.metadata,
        "plan": PLAN,
        "task_schema": wanted.task_schema,
    }


def _event(batch_id: str, wanted: Finished, at: int) -> BatchEnded:
    return ENDED[wanted.kind](
        batch_id=batch_id,
        tenant="default",
        endpoint=CHAT,
        input_file_id="file-1",
        at=at,
        counts=Counts(1, 1, 0),
    )


def _delivery(batch_id: str, sink: str, event_id: str, kind: str, at: int) -> dict[str, Any]:
    name, _, endpoint = sink.partition("/")
    return {
        "batch_id": batch_id,
        "sink": name,
        "endpoint": endpoint,
        "tenant": "default",
        "event_id": event_id,
        "event_type": kind,
        "state": "pending",
        "created_at": at,
        "next_at": float(at),
    }


def _encoded(line: dict[str, Any]) -> bytes:
    return msgspec.json.encode(line) + b"\n"
