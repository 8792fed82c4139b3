"""Results in a real Postgres: every row once, whatever dies or goes wrong on the way."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from batch_common.blobs import BlobStore
from batch_common.config import Postgres
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.secret import Secret
from batch_sinks.ended import EndedBatches
from batch_sinks.postgres import PostgresHandler
from batch_sinks.sink import DeliveryError, Item
from support.finished import Finished, finish
from support.ports import free_port
from support.wait import until

from .conftest import EndBatch, FindRow, InState, Serve, Settings, on_sqlite

pytestmark = on_sqlite

ITEM = Item(
    sink="postgres",
    batch_id="",
    tenant="default",
    event_id="evt_1",
    event_type="batch.completed",
    ended_at=1700000000,
    attempt=1,
)
REST = "model text, status_code int, request jsonb, response jsonb, error jsonb"
PROCESS = """
import sys
from pathlib import Path
from batch_common.config_file import load_config
from batch_common.service import run_service
from batch_sinks import deliverer
from batch_sinks.app import run
deliverer._CLAIM_S = 1.5  # what a killed process holds is free again after this
sys.exit(run_service("sinks", load_config(Path(sys.argv[1])), run))
"""


@pytest.fixture
async def theirs(postgres_url: str) -> AsyncIterator[Any]:
    """A connection to the user's database."""
    conn = await asyncpg.connect(postgres_url)
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=json.loads)
    yield conn
    await conn.close()


Deliver = Callable[..., Awaitable[None]]


@pytest.fixture
async def deliver(database: Database, blobs: BlobStore) -> Deliver:
    """`await deliver(url, table=…)`: one attempt at the same batch of 300, without the service."""
    batch_id = await finish(database, blobs, Finished(lines=300))

    async def attempt(url: str, **settings: Any) -> None:
        batch = await EndedBatches(database, blobs).find(batch_id)
        about = batch.about(msgspec.structs.replace(ITEM, batch_id=batch_id))
        handler = PostgresHandler(Postgres(url=Secret(url), **settings))
        assert await handler.handle(batch_id, await batch.results(), about)

    return attempt


def postgres(url: str, **more: Any) -> dict[str, Any]:
    return {"enabled": ("postgres",), "postgres": Postgres(url=Secret(url), **more)}


async def test_every_result_is_a_row(
    serve: Serve, end_batch: EndBatch, in_state: InState, postgres_url: str, theirs: Any
) -> None:
    wanted = Finished(lines=250, fails=10)
    async with serve(handlers=postgres(postgres_url, rows_at_once=40)):
        batch_id = await end_batch(lines=250, fails=10, sinks=("postgres",))
        await until(in_state("delivered", batch_id, sink="postgres"))
    rows = {row["custom_id"]: row for row in await theirs.fetch("SELECT * FROM batch_results")}
    assert len(rows) == 250
    for line in range(1, 251):
        row, result = rows[f"r{line}"], wanted.result(batch_id, line)
        response = result["response"]
        assert (row["batch_id"], row["tenant"], row["model"]) == (batch_id, "default", "sim")
        assert row["status_code"] == (response["status_code"] if response else None)
        assert row["response"] == (response["body"] if response else None)
        assert row["error"] == result["error"]
        assert row["request"] == wanted.request(line)["body"]


@pytest.mark.slow
async def test_fifty_thousand_results_with_the_service_killed_three_times(
    settings: Settings,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    postgres_url: str,
    theirs: Any,
    tmp_path: Path,
) -> None:
    """Killed when so many rows are there; the next one goes on where it was."""
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings(handlers=postgres(postgres_url, rows_at_once=1000))))
    batch_id = await end_batch(
        lines=50_000, chunk_lines=5000, fails=100, sinks=("postgres",), event=False
    )

    async def count() -> int:
        if await theirs.fetchval("SELECT to_regclass('batch_results')") is None:
            return 0
        return int(await theirs.fetchval("SELECT count(*) FROM batch_results"))

    async def has(wanted: int) -> bool:
        return await count() >= wanted

    killed_at = []
    for wanted in (1_000, 17_000, 33_000):
        process = start(path)
        try:
            await until(lambda n=wanted: has(n), within_s=60, what=f"{wanted} rows")
        finally:
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.communicate, None, 20)
        killed_at.append(await count())
    process = start(path)
    try:
        await until(in_state("delivered", batch_id, sink="postgres"), within_s=60)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate, None, 30)
    assert killed_at == sorted(killed_at)
    assert killed_at[0] >= 1_000
    assert killed_at[-1] < 50_000
    assert (await find_row(batch_id, "postgres")).attempts == 4
    distinct = await theirs.fetchval("SELECT count(DISTINCT custom_id) FROM batch_results")
    assert (await count(), distinct) == (50_000, 50_000)
    failed = await theirs.fetchval("SELECT count(*) FROM batch_results WHERE error IS NOT NULL")
    assert failed == 500


def start(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROCESS, path], stderr=subprocess.DEVNULL)


async def test_rows_that_were_removed_come_back(
    deliver: Deliver, postgres_url: str, theirs: Any
) -> None:
    """The count says where to go on; where it misleads, everything is stored once more."""
    await deliver(postgres_url)
    await theirs.execute("DELETE FROM batch_results WHERE custom_id IN ('r300', 'r7')")
    await theirs.execute("UPDATE batch_results SET tenant = 'wrong' WHERE custom_id = 'r2'")
    await deliver(postgres_url, rows_at_once=50)
    found = await theirs.fetch("SELECT custom_id FROM batch_results WHERE tenant = 'default'")
    assert sorted(row["custom_id"] for row in found) == sorted(f"r{n}" for n in range(1, 301))


async def test_a_repeat_changes_nothing(deliver: Deliver, postgres_url: str, theirs: Any) -> None:
    await deliver(postgres_url)
    before = await theirs.fetch("SELECT xmin, * FROM batch_results ORDER BY custom_id")
    await deliver(postgres_url)
    assert await theirs.fetch("SELECT xmin, * FROM batch_results ORDER BY custom_id") == before


async def test_a_table_of_their_own_in_a_schema(
    deliver: Deliver, postgres_url: str, theirs: Any
) -> None:
    """With columns besides ours, in another order, and a name that needs quotes."""
    await theirs.execute("CREATE SCHEMA lab")
    await theirs.execute(
        'CREATE TABLE lab."Answers" (seen timestamptz DEFAULT now(), error jsonb, response jsonb, '
        "request jsonb, status_code int, model text, tenant text, custom_id text, batch_id text, "
        "UNIQUE (batch_id, custom_id))"
    )
    await deliver(postgres_url, table="lab.Answers")
    assert await theirs.fetchval('SELECT count(seen) FROM lab."Answers"') == 300


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("(batch_id text)", "has no column custom_id, tenant, .*: add custom_id text NOT NULL"),
        (
            f"(batch_id text, custom_id text, tenant text, {REST})",
            r"no unique index on \(batch_id, custom_id\)",
        ),
        (
            f"(batch_id text, custom_id text, tenant int, {REST}, UNIQUE (batch_id, custom_id))",
            "columns of other types than .*tenant text",
        ),
    ],
)
async def test_a_table_that_does_not_fit_is_a_clear_error(
    deliver: Deliver, postgres_url: str, theirs: Any, table: str, message: str
) -> None:
    await theirs.execute(f"CREATE TABLE batch_results {table}")
    with pytest.raises(DeliveryError, match=message):
        await deliver(postgres_url)
    assert await theirs.fetchval("SELECT count(*) FROM batch_results") == 0


async def test_a_database_that_is_not_there_is_a_clear_error(
    deliver: Deliver, postgres_url: str
) -> None:
    nowhere = f"postgresql://u:hunter2@127.0.0.1:{free_port()}/d"
    with pytest.raises(DeliveryError, match=r"Postgres: .*onnect") as raised:
        await deliver(nowhere)
    assert "hunter2" not in str(raised.value)
    parts = urlsplit(postgres_url)
    with pytest.raises(DeliveryError, match='database "nowhere" does not exist'):
        await deliver(parts._replace(path="/nowhere").geturl())


async def test_two_attempts_at_once_store_each_row_once(
    deliver: Deliver, postgres_url: str, theirs: Any
) -> None:
    """Race: one that was thought dead goes on beside its successor."""
    await deliver(postgres_url)
    await theirs.execute("TRUNCATE batch_results")
    outcomes = await asyncio.gather(
        *(deliver(postgres_url, rows_at_once=20) for _ in range(3)), return_exceptions=True
    )
    # Postgres ends one of two that wait for each other's rows; it is tried again.
    if any(isinstance(outcome, DeliveryError) for outcome in outcomes):
        await deliver(postgres_url)
    assert await theirs.fetchval("SELECT count(*) FROM batch_results") == 300
