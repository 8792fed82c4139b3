"""The gauges that are read from rows say what the rows hold."""

import time
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert, update

from batch_common import tables
from batch_common.db import Database
from batch_common.state import BatchStatus, ChunkState, DeliveryState
from batch_scheduler.measure import Measure

AT = 0


@pytest.fixture(autouse=True)
def a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each test: this file may have been read long before."""
    monkeypatch.setitem(globals(), "AT", int(time.time()))


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"vllm_batch_{name}", labels)


async def add(database: Database, table: Any, *rows: dict[str, Any]) -> None:
    async with database.write("in a test") as conn:
        for row in rows:
            await conn.execute(insert(table).values(row))


def batch(name: str, status: BatchStatus) -> dict[str, Any]:
    return {
        "id": name,
        "tenant": "t",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": status,
        "created_at": AT,
        "expires_at": AT + 3600,
    }


def span(name: str, model: str, next_line: int, released_tokens: int = 0) -> dict[str, Any]:
    return {
        "batch_id": name,
        "ordinal": 0,
        "model": model,
        "first_line": 0,
        "end_line": 100,
        "first_byte": 0,
        "end_byte": 1000,
        "tokens": 5000,
        "next_line": next_line,
        "next_byte": 0,
        "released_tokens": released_tokens,
    }


def chunk(name: str, model: str, state: ChunkState, completed: int) -> dict[str, Any]:
    return {
        "id": name,
        "batch_id": "b1",
        "tenant": "t",
        "model": model,
        "first_line": 0,
        "end_line": 40,
        "first_byte": 0,
        "end_byte": 400,
        "tokens": 2000,
        "state": state,
        "released_at": float(AT),
        "completed": completed,
    }


def delivery(name: str, sink: str, state: DeliveryState, age_s: int) -> dict[str, Any]:
    return {
        "batch_id": name,
        "sink": sink,
        "tenant": "t",
        "event_id": "evt_1",
        "event_type": "batch.completed",
        "state": state,
        "created_at": AT - age_s,
        "next_at": float(AT),
    }


async def test_work_counts_what_has_no_result_yet(database: Database) -> None:
    await add(
        database,
        tables.batches,
        batch("b1", BatchStatus.IN_PROGRESS),
        batch("b2", BatchStatus.CANCELLING),
        batch("b3", BatchStatus.COMPLETED),
    )
    await add(database, tables.spans, span("b1", "measured", 40, 2000), span("b2", "measured", 0))
    await add(
        database,
        tables.chunks,
        chunk("c1", "measured", ChunkState.RELEASED, 30),
        chunk("c2", "measured", ChunkState.COMMITTED, 40),
        chunk("c3", "all released", ChunkState.RELEASED, 0),
    )
    measure = Measure(database, ())
    await measure.look()
    assert shown("batches", status="in_progress") == 1
    assert shown("batches", status="cancelling") == 1
    assert shown("batches", status="validating") == 0
    assert shown("batches", status="completed") is None
    assert shown("pending_requests", model="measured") == 60
    assert shown("pending_tokens", model="measured") == 3000
    assert shown("released_requests", model="measured") == 10
    assert shown("released_chunks", model="measured") == 1
    # An autoscaler adds the two up: both must be there.
    assert shown("pending_requests", model="all released") == 0
    async with database.write("in a test") as conn:
        await conn.execute(update(tables.chunks).values(state=ChunkState.CLOSED))
        await conn.execute(update(tables.batches).values(status=BatchStatus.CANCELLED))
    await measure.look()
    assert shown("released_requests", model="measured") == 0
    assert shown("pending_requests", model="measured") == 0


async def test_deliveries_are_counted_from_their_last_beginning(database: Database) -> None:
    redriven = delivery("b3", "s3", DeliveryState.PENDING, 9000) | {"redriven_at": AT - 20.0}
    await add(
        database,
        tables.deliveries,
        delivery("b1", "webhook", DeliveryState.PENDING, 500),
        delivery("b2", "webhook", DeliveryState.DELIVERED, 900),
        delivery("b4", "webhook", DeliveryState.FAILED, 900),
        redriven,
    )
    await Measure(database, ("webhook", "s3", "idle")).look()
    assert shown("deliveries_pending", sink="webhook") == 1
    assert shown("deliveries_given_up", sink="webhook") == 1
    assert 500 <= (shown("delivery_oldest_pending_seconds", sink="webhook") or 0) < 560
    assert 20 <= (shown("delivery_oldest_pending_seconds", sink="s3") or 0) < 80
    assert shown("deliveries_pending", sink="idle") == 0
    assert shown("delivery_oldest_pending_seconds", sink="idle") == 0


async def test_the_outbox_lags_by_its_oldest_unsent_row(database: Database) -> None:
    row = {
        "stream": "BATCHES",
        "subject": "batch.submitted",
        "message_id": "m",
        "headers": {},
        "body": b"",
    }
    await add(
        database,
        tables.outbox,
        {"id": "1", "created_at": AT - 500.0, "sent_at": AT - 499.0, **row},
        {"id": "2", "created_at": AT - 40.0, **row},
        {"id": "3", "created_at": AT - 30.0, **row},
    )
    await Measure(database, ()).look()
    assert shown("outbox_unsent_events") == 2
    assert 40 <= (shown("outbox_lag_seconds") or 0) < 100
