"""A house with schedulers in it: real NATS, both databases, real blobs, a runner of the test's."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from batch_common import clock, config, crash_points
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.events import BatchCancelling, BatchSubmitted
from batch_common.formats.content import decode_content
from batch_common.ids import new_id
from batch_common.keys import file_content
from batch_common.outbox import add_batch_event
from batch_common.state import TERMINAL, BatchStatus, move_batch
from batch_common.tables import batches, chunks, files
from batch_scheduler.app import run
from batch_scheduler.context import Context
from batch_scheduler.fleet import Fleet
from batch_scheduler.rates import Rates
from batch_scheduler.wakes import Wakes
from support.fake_runner import CHAT, FakeRunner
from support.nats_process import NatsProcess
from support.wait import until


def request_line(custom_id: str, model: str = "m", text: str = "hello") -> bytes:
    """One good line, with its newline."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line).encode() + b"\n"


class House:
    """What a user and an operator can do, and what they then see."""

    def __init__(self, settings: config.Config, database: Database, blobs: BlobStore) -> None:
        self.config = settings
        self.database = database
        self.blobs = blobs
        self.folder = Path(settings.data_dir)
        self._running: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, **changed: Any) -> None:
        """One more; `changed` replaces sections of the configuration."""
        stop = asyncio.Event()
        settings = msgspec.structs.replace(self.config, **changed)
        self._running.append((asyncio.create_task(run(settings, stop)), stop))

    async def stop_schedulers(self) -> None:
        running, self._running = self._running, []
        for _task, stop in running:
            stop.set()
        await asyncio.gather(*(task for task, _stop in running))

    def start_process(self, **changed: Any) -> None:
        """A scheduler that can be killed."""
        settings = msgspec.structs.replace(self.config, **changed)
        path = self.folder / "config.yml"
        path.write_text(dump_config(settings))
        command = [sys.executable, "-m", "batch_cli", "scheduler", "--config", str(path)]
        with (self.folder / "scheduler.log").open("ab") as output:
            self._processes.append(subprocess.Popen(command, stdout=output, stderr=output))

    def kill_processes(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            process.kill()
            process.wait(10)

    async def upload(self, content: bytes, **columns: Any) -> str:
        file_id = new_id("file-")
        key = file_content(file_id)
        await self.blobs.put(key, content)
        row = {
            "id": file_id,
            "tenant": "t",
            "purpose": "batch",
            "filename": "in.jsonl",
            "bytes": len(content),
            "created_at": clock.timestamp(),
            "blob_key": key,
        }
        async with self.database.write("in a test") as conn:
            await conn.execute(insert(files).values(row | columns))
        return file_id

    async def submit(self, file_id: str, *, window_s: float = 86400, **columns: Any) -> str:
        batch_id, now = new_id("batch_"), clock.timestamp()
        row = {
            "id": batch_id,
            "tenant": "t",
            "endpoint": CHAT,
            "input_file_id": file_id,
            "completion_window": "24h",
            "status": BatchStatus.VALIDATING,
            "created_at": now,
            "expires_at": now + window_s,
        }
        row |= columns
        event = BatchSubmitted(
            batch_id=batch_id, tenant="t", endpoint=CHAT, input_file_id=file_id, at=now
        )
        async with self.database.write("in a test") as conn:
            await conn.execute(insert(batches).values(row))
            await add_batch_event(conn, event, "gateway", None)
        return batch_id

    async def submit_lines(self, *lines: bytes, **columns: Any) -> str:
        return await self.submit(await self.upload(b"".join(lines)), **columns)

    async def cancel(self, batch_id: str) -> None:
        batch = await self.batch(batch_id)
        event = BatchCancelling(
            batch_id=batch_id, tenant="t", endpoint=CHAT, input_file_id="f", at=clock.timestamp()
        )
        async with self.database.write("in a test") as conn:
            assert await move_batch(
                conn,
                batch_id,
                BatchStatus(batch.status),
                BatchStatus.CANCELLING,
                clock.timestamp(),
            )
            await add_batch_event(conn, event, "gateway", None)

    async def expire(self, batch_id: str) -> None:
        """Moves the end of the completion window into the past."""
        async with self.database.write("in a test") as conn:
            await conn.execute(
                update(batches)
                .where(batches.c.id == batch_id)
                .values(expires_at=clock.timestamp() - 1)
            )

    async def batch(self, batch_id: str) -> Any:
        async with self.database.read() as conn:
            return (await conn.execute(select(batches).where(batches.c.id == batch_id))).one()

    async def chunks(self, batch_id: str) -> list[Any]:
        statement = select(chunks).where(chunks.c.batch_id == batch_id)
        async with self.database.read() as conn:
            return list(await conn.execute(statement.order_by(chunks.c.first_line)))

    async def reached(self, batch_id: str, *statuses: BatchStatus, within_s: float = 20) -> Any:
        async def there() -> bool:
            return (await self.batch(batch_id)).status in statuses

        await until(there, within_s=within_s, what=f"{batch_id} in {statuses}")
        return await self.batch(batch_id)

    async def ended(self, batch_id: str, within_s: float = 30) -> Any:
        return await self.reached(batch_id, *TERMINAL, within_s=within_s)

    async def results(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file; none for None."""
        if file_id is None:
            return []
        async with self.database.read() as conn:
            file = (await conn.execute(select(files).where(files.c.id == file_id))).one()
        content = decode_content(await self.blobs.get(file.blob_key))
        data = b"".join([await self.blobs.get(part.key) for part in content.parts])
        assert len(data) == file.bytes
        return [json.loads(line) for line in data.splitlines()]

    async def outcome(self, batch: Any) -> tuple[list[str], list[str]]:
        """custom_ids of the output and of the error file, sorted."""
        output = await self.results(batch.output_file_id)
        errors = await self.results(batch.error_file_id)
        return sorted(r["custom_id"] for r in output), sorted(r["custom_id"] for r in errors)


@pytest.fixture
async def house(
    tmp_path: Path,
    nats_process: NatsProcess,
    database_settings: config.Database,
    database: Database,
    blobs: BlobStore,
) -> AsyncIterator[House]:
    settings = config.Config(
        data_dir=str(tmp_path),
        models=("m", "n"),
        database=database_settings,
        nats=nats_process.settings,
        scheduler=config.Scheduler(
            chunk_first_requests=10,
            claim_ttl_s=2.0,
            lease_ttl_s=3.0,
            poll_s=0.2,
            reconcile_s=0.5,
        ),
        sinks=config.Sinks(enabled=("webhook",)),
    )
    made = House(settings, database, blobs)
    yield made
    made.kill_processes()
    await made.stop_schedulers()


@pytest.fixture
def context(house: House, bus: Bus, tmp_path: Path) -> Context:
    """What a scheduler works with, for tests that call a part of it."""
    return Context(
        config=house.config,
        database=house.database,
        blobs=house.blobs,
        bus=bus,
        spool_dir=tmp_path / "spool",
        fleet=Fleet(house.config),
        rates=Rates(),
        wakes=Wakes(),
    )


@pytest.fixture
def crash_hook() -> Iterator[Callable[[crash_points.Hook], None]]:
    """`crash_hook(hook)` installs it until the test ends."""
    yield crash_points.install
    crash_points.install(None)


@pytest.fixture
async def runner(bus: Bus, blobs: BlobStore) -> FakeRunner:
    return FakeRunner(bus, blobs)


@pytest.fixture
async def serving(
    bus: Bus, blobs: BlobStore
) -> AsyncIterator[Callable[..., Awaitable[FakeRunner]]]:
    """`await serving("model")`: a good runner that works until the test ends."""
    tasks: list[asyncio.Task[None]] = []

    async def start(model: str = "m", name: str = "r1", **announced: Any) -> FakeRunner:
        one = FakeRunner(bus, blobs, model, name)
        await one.announce(**announced)
        tasks.append(asyncio.create_task(one.serve()))
        return one

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
