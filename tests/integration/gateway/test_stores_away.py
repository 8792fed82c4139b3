"""Database, blob store or NATS is away: 503 with `retry-after`, soon, and then all is well."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch_common import db
from batch_common.config import Blobs, Database
from batch_common.secret import Secret
from chaos.postgres_server import PostgresServer
from support.gateway import CHAT, LINE, make_batch, make_file
from support.nats_process import NatsProcess
from support.ports import free_port
from support.wait import until

BATCH = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
SOON_S = 20.0


async def assert_away(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    began = time.monotonic()
    answer = await ask()
    assert time.monotonic() - began < SOON_S
    assert answer.status_code == 503, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", None)
    assert "/readyz" in error["message"]
    assert int(answer.headers["retry-after"]) >= 1


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One of our own: it is stopped and frozen."""
    server = PostgresServer()
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


async def test_the_database_is_away(serve: Any, postgres: PostgresServer) -> None:
    served = await serve(database=Database(url=Secret(postgres.url)))
    http = served.http
    batch = await make_batch(http)
    await postgres.stop_at_once()
    routes: list[Callable[[], Awaitable[httpx.Response]]] = [
        lambda: http.post("/v1/batches", json=BATCH),
        lambda: http.post("/v1/batches", json=BATCH, headers={"idempotency-key": "k"}),
        lambda: http.get("/v1/batches"),
        lambda: http.get(f"/v1/batches/{batch['id']}"),
        lambda: http.get(f"/v1/batches/{batch['id']}/events"),
        lambda: http.get(f"/v1/batches/{batch['id']}/results"),
        lambda: http.post(f"/v1/batches/{batch['id']}/cancel"),
        lambda: http.post(f"/v1/batches/{batch['id']}/retry"),
        lambda: http.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", LINE)}
        ),
        lambda: http.get("/v1/files"),
        lambda: http.get("/v1/models"),
    ]
    for ask in routes:
        await assert_away(ask)
    assert (await http.get("/healthz")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["nats"]) == (503, "ok")
    await postgres.start_again()

    async def back() -> bool:
        return (await http.get("/readyz")).status_code == 200

    await until(back, what="the database's return")
    assert (await http.get(f"/v1/batches/{batch['id']}")).json() == batch
    assert not served.task.done()


async def test_the_database_hangs(
    serve: Any, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections stand, and nobody answers on them; a wait for the answer has its limit."""
    monkeypatch.setattr(db, "_ANSWER_S", 2)
    monkeypatch.setattr(db, "_CONNECT_S", 2)
    served = await serve(database=Database(url=Secret(postgres.url)))
    batch = await make_batch(served.http)
    frozen = postgres.processes()
    for process in frozen:
        process.suspend()
    try:
        await assert_away(lambda: served.http.get(f"/v1/batches/{batch['id']}"))
        await assert_away(lambda: served.http.post("/v1/batches", json=BATCH))
    finally:
        for process in frozen:
            process.resume()

    async def back() -> bool:
        return (await served.http.get(f"/v1/batches/{batch['id']}")).json() == batch

    await until(back, what="the database's return")


async def test_the_blob_store_fails(served: Any) -> None:
    http, folder = served.http, Path(served.config.data_dir) / "blobs"
    file = await make_file(http)
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("what a broken mount looks like")
    form: dict[str, Any] = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", LINE)}}
    await assert_away(lambda: http.post("/v1/files", **form))
    await assert_away(lambda: http.get(f"/v1/files/{file['id']}/content"))
    folder.unlink()
    shutil.move(folder.with_name("elsewhere"), folder)
    assert (await http.get(f"/v1/files/{file['id']}/content")).content == LINE
    assert (await http.post("/v1/files", **form)).status_code == 200


async def test_an_object_store_that_nobody_answers_for(serve: Any) -> None:
    """The store's own client tries again for minutes if it is let."""
    options = {
        "endpoint": Secret(f"http://127.0.0.1:{free_port()}"),
        "access_key_id": Secret("a"),
        "secret_access_key": Secret("b"),
        "region": Secret("us-east-1"),
        "allow_http": Secret("true"),
    }
    served = await serve(blobs=Blobs(url="s3://bucket", options=options))
    form: dict[str, Any] = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", LINE)}}
    await assert_away(lambda: served.http.post("/v1/files", **form))


async def test_nats_is_away(served: Any, nats_process: NatsProcess) -> None:
    """Rows are the truth: a batch is taken in all the same, and its event follows."""
    await nats_process.stop()
    batch = await make_batch(served.http)
    assert (await served.http.get(f"/v1/batches/{batch['id']}")).status_code == 200
    await nats_process.start()

    async def back() -> bool:
        return (await served.http.get("/readyz")).status_code == 200

    await until(back, what="the return of NATS")
    await asyncio.sleep(0)
    assert not served.task.done()
