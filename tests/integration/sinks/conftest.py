"""The sinks service beside a real receiver, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, select

from batch_common import config
from batch_common.blobs import BlobStore
from batch_common.config import Config, Sinks, Webhook
from batch_common.db import Database
from batch_common.secret import Secret
from batch_common.tables import deliveries
from batch_sinks import wake
from batch_sinks.app import run
from batch_sinks.wake import consumer
from support.finished import Finished, finish
from support.nats_process import NatsProcess
from support.receiver import Receiver

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

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
    """`settings(retry_for_s=…, timeout_s=…)`: a Config whose webhook goes to the receiver.

    `handlers` are further fields of Sinks, as `{"enabled": ("webhook", "mine"), "custom": …}`.
    """

    def make(
        retry_for_s: float = 60.0, handlers: dict[str, Any] | None = None, **webhook: Any
    ) -> Config:
        target = {
            "url": receiver.url,
            "allow_private": True,
            "allow_http": True,
            "timeout_s": 5.0,
            **webhook,
        }
        target["secret"] = Secret(target.get("secret", SECRET))
        return Config(
            data_dir=str(tmp_path),
            database=database_settings,
            nats=nats_process.settings,
            sinks=Sinks(
                **{"enabled": ("webhook",), **(handlers or {})},
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
def end_batch(database: Database, blobs: BlobStore) -> EndBatch:
    """Ends a batch as the scheduler does: `end_batch("batch.failed", lines=…, sinks=…)`."""

    async def end(kind: str = "batch.completed", **wanted: Any) -> str:
        return await finish(database, blobs, Finished(kind=kind, **wanted))

    return end


FindRow = Callable[..., Awaitable[Row[Any]]]


@pytest.fixture
def find_row(database: Database) -> FindRow:
    async def find(batch_id: str, sink: str = "webhook") -> Row[Any]:
        name, _, endpoint = sink.partition("/")
        statement = select(deliveries).where(
            deliveries.c.batch_id == batch_id,
            deliveries.c.sink == name,
            deliveries.c.endpoint == endpoint,
        )
        async with database.read() as conn:
            return (await conn.execute(statement)).one()

    return find


InState = Callable[..., Callable[[], Awaitable[bool]]]


@pytest.fixture
def in_state(find_row: FindRow) -> InState:
    """A condition for `until`: all these batches' deliveries have that state."""

    def condition(
        state: str, *batch_ids: str, sink: str = "webhook"
    ) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return {(await find_row(batch_id, sink)).state for batch_id in batch_ids} == {state}

        return holds

    return condition
