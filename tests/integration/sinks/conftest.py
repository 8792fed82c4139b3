"""The sinks service beside a real receiver, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, insert, select

from batch_common import clock, config
from batch_common.config import Config, Sinks, Webhook
from batch_common.db import Database
from batch_common.events import BATCH_EVENTS, BatchEnded, Counts
from batch_common.ids import new_id
from batch_common.outbox import add_batch_event
from batch_common.secret import Secret
from batch_common.tables import deliveries
from batch_sinks import wake
from batch_sinks.app import run
from batch_sinks.wake import consumer
from support.nats_process import NatsProcess
from support.receiver import Receiver

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
ENDED = {event.type: event for event in BATCH_EVENTS if issubclass(event, BatchEnded)}

# For what the database has no part in.
on_sqlite = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)

Settings = Callable[..., Config]
Serve = Callable[..., AbstractAsyncContextManager[asyncio.Event]]


@pytest.fixture(autouse=True)
def _short_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch is never cancelled, so every stop would wait for its three seconds."""
    monkeypatch.setattr(
        wake, "consumer", lambda sink: msgspec.structs.replace(consumer(sink), fetch_s=0.3)
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def settings(
    nats_process: NatsProcess,
    database_settings: config.Database,
    receiver: Receiver,
    tmp_path: Path,
) -> Settings:
    """`settings(retry_for_s=…, timeout_s=…)`: a Config whose webhook goes to the receiver."""

    def make(retry_for_s: float = 60.0, **webhook: Any) -> Config:
        target = {"url": receiver.url, "allow_private": True, "timeout_s": 5.0, **webhook}
        target["secret"] = Secret(target.get("secret", SECRET))
        return Config(
            data_dir=str(tmp_path),
            database=database_settings,
            nats=nats_process.settings,
            sinks=Sinks(
                enabled=("webhook",),
                retry_for_s=retry_for_s,
                webhook=Webhook(**target),
            ),
        )

    return make


@pytest.fixture
def serve(settings: Settings) -> Serve:
    """`async with serve(…)`: the service runs within the block, which gets its stop event."""

    @asynccontextmanager
    async def running(**changes: Any) -> AsyncIterator[asyncio.Event]:
        stop = asyncio.Event()
        task = asyncio.create_task(run(settings(**changes), stop))
        try:
            yield stop
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)

    return running


EndBatch = Callable[..., Awaitable[str]]


@pytest.fixture
def end_batch(database: Database) -> EndBatch:
    """Ends a batch as the scheduler does: delivery row and event in one transaction."""

    async def end(kind: str = "batch.completed", *, row: bool = True, event: bool = True) -> str:
        batch_id, at = new_id("batch_"), clock.timestamp()
        async with database.write("in a test") as conn:
            event_id = new_id("evt_")
            if event:
                ended = ENDED[kind](
                    batch_id=batch_id,
                    tenant="default",
                    endpoint="/v1/chat/completions",
                    input_file_id="file-1",
                    at=at,
                    counts=Counts(1, 1, 0),
                )
                event_id = await add_batch_event(conn, ended, "scheduler", None)
            if row:
                values = {
                    "batch_id": batch_id,
                    "sink": "webhook",
                    "tenant": "default",
                    "event_id": event_id,
                    "event_type": kind,
                    "state": "pending",
                    "created_at": at,
                    "next_at": float(at),
                }
                await conn.execute(insert(deliveries).values(**values))
        return batch_id

    return end


FindRow = Callable[[str], Awaitable[Row[Any]]]


@pytest.fixture
def find_row(database: Database) -> FindRow:
    async def find(batch_id: str) -> Row[Any]:
        statement = select(deliveries).where(deliveries.c.batch_id == batch_id)
        async with database.read() as conn:
            return (await conn.execute(statement)).one()

    return find


InState = Callable[..., Callable[[], Awaitable[bool]]]


@pytest.fixture
def in_state(find_row: FindRow) -> InState:
    """A condition for `until`: all these batches' deliveries have that state."""

    def condition(state: str, *batch_ids: str) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return {(await find_row(batch_id)).state for batch_id in batch_ids} == {state}

        return holds

    return condition
