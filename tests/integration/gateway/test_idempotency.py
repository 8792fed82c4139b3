"""Idempotency-Key: what is sent again creates nothing again, whatever happened to the first try."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from batch_common import clock, config
from batch_common.blobs import BlobStore
from batch_common.config import Limits
from batch_common.db import Database, open_database
from batch_common.tables import batches, files, idempotency_keys, outbox, upload_parts, uploads
from batch_gateway.batch_store import BatchStore
from batch_gateway.errors import ApiError
from batch_gateway.idempotency import KEPT_S, Once, sweep_keys
from support.gateway import CHAT, LINE
from support.wait import until

from .test_stores import TRACE, WANTED

KEY = {"idempotency-key": "k-1"}
BATCH = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
ABOUT = {
    "bytes": len(LINE),
    "filename": "in.jsonl",
    "mime_type": "application/jsonl",
    "purpose": "batch",
}


async def post_file(http: httpx.AsyncClient, data: bytes = LINE, **headers: str) -> httpx.Response:
    return await http.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("in.jsonl", data)},
        headers={**KEY, **headers},
    )


async def count(database: Database, table: Any) -> int:
    async with database.read() as conn:
        return int((await conn.execute(select(func.count()).select_from(table))).scalar_one())


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"


def assert_refused(answer: httpx.Response, *words: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "idempotency_key_reused"), answer.text
    assert (error["type"], error["param"]) == ("invalid_request_error", "Idempotency-Key")
    assert answer.headers["x-should-retry"] == "false"
    for word in words:
        assert word in error["message"]


async def test_a_batch_is_created_once(served: Any) -> None:
    first = await served.http.post("/v1/batches", json=BATCH, headers=KEY)
    spaced = b'{"endpoint": "%s",\n "completion_window":"24h", "input_file_id":"file-x"}'
    again = await served.http.post("/v1/batches", content=spaced % CHAT.encode(), headers=KEY)
    assert_replayed(first, again)
    assert await count(served.database, batches) == 1
    assert await count(served.database, outbox) == 1


async def test_a_key_stands_for_one_request(served: Any) -> None:
    await served.http.post("/v1/batches", json=BATCH, headers=KEY)
    other = await served.http.post("/v1/batches", json={**BATCH, "metadata": {}}, headers=KEY)
    assert_refused(other, "another body", "24 hours", "new key")
    assert_refused(await post_file(served.http), "POST /v1/batches")
    assert_refused(await served.http.post("/v1/uploads", json=ABOUT, headers=KEY))
    assert await count(served.database, files) == 0
    assert await count(served.database, uploads) == 0
    assert (await served.http.post("/v1/batches", json=BATCH)).status_code == 200


async def test_a_file_is_stored_once_though_its_form_looks_different(served: Any) -> None:
    """Clients draw a new boundary for every try."""
    first, again = await post_file(served.http), await post_file(served.http)
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert_replayed(first, again)
    assert_refused(await post_file(served.http, LINE + LINE), "another body")
    assert await count(served.database, files) == 1
    folder = Path(served.config.data_dir) / "blobs"
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


async def test_an_upload_in_parts_can_be_repeated_at_every_step(served: Any) -> None:
    def again(step: str) -> dict[str, str]:
        return {"idempotency-key": step}

    async def twice(path: str, step: str, **body: Any) -> Any:
        first = await served.http.post(path, headers=again(step), **body)
        assert_replayed(first, await served.http.post(path, headers=again(step), **body))
        return first.json()

    upload = await twice("/v1/uploads", "create", json=ABOUT)
    path = f"/v1/uploads/{upload['id']}"
    part = await twice(f"{path}/parts", "part", files={"data": ("blob", LINE)})
    done = await twice(f"{path}/complete", "complete", json={"part_ids": [part["id"]]})
    assert done["file"]["bytes"] == len(LINE)
    assert await count(served.database, files) == 1
    assert await count(served.database, upload_parts) == 1
    assert await count(served.database, uploads) == 1
    late = await served.http.post(
        f"{path}/parts", headers=again("part"), files={"data": ("blob", LINE)}
    )
    assert late.json() == part  # though the upload takes no more parts


async def test_a_failed_request_leaves_its_key_free(served: Any) -> None:
    for body in ({**BATCH, "endpoint": "/v1/parrots"}, {}):
        answer = await served.http.post("/v1/batches", json=body, headers=KEY)
        assert answer.status_code == 400
    assert (await post_file(served.http, b"nope\n")).status_code == 400
    assert await count(served.database, idempotency_keys) == 0
    assert (await served.http.post("/v1/batches", json=BATCH, headers=KEY)).status_code == 200


async def test_tenants_share_no_keys(two_tenants: Any) -> None:
    made = [
        await two_tenants.http.post(
            "/v1/batches", json=BATCH, headers={**KEY, "authorization": f"Bearer sk-{tenant}"}
        )
        for tenant in "ab"
    ]
    assert [answer.status_code for answer in made] == [200, 200]
    assert made[0].json()["id"] != made[1].json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "caf\u00e9".encode("latin-1")])
async def test_what_is_no_key(served: Any, key: str | bytes) -> None:
    answer = await served.http.post("/v1/batches", json=BATCH, headers={"idempotency-key": key})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "Idempotency-Key")
    assert "1 to 255 visible ASCII" in error["message"]
    assert await count(served.database, batches) == 0


async def test_equal_requests_side_by_side_make_one(served: Any) -> None:
    """All of them pass the look for the key before the first commits; the last ones undo theirs."""
    answers = await asyncio.gather(*(post_file(served.http, LINE * 20_000) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(served.database, files) == 1
    answers = await asyncio.gather(
        *(
            served.http.post("/v1/batches", json=BATCH, headers={"idempotency-key": "b"})
            for _ in range(8)
        )
    )
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_two_completions_side_by_side_make_one_file(served: Any) -> None:
    """The slower one finds the upload completed: the key says that this is what it wanted."""
    upload = (await served.http.post("/v1/uploads", json=ABOUT)).json()
    path = f"/v1/uploads/{upload['id']}"
    part = (await served.http.post(f"{path}/parts", files={"data": ("b", LINE)})).json()
    answers = await asyncio.gather(
        *(
            served.http.post(f"{path}/complete", json={"part_ids": [part["id"]]}, headers=KEY)
            for _ in range(4)
        )
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.json()["file"]["id"] for answer in answers}) == 1


async def test_a_client_that_broke_off_tries_again(served: Any) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        yield LINE * 1000
        raise ConnectionResetError

    with pytest.raises((httpx.TransportError, ConnectionResetError)):
        await served.http.post(
            "/v1/files",
            content=half(),
            headers={**KEY, "content-type": "multipart/form-data; boundary=X"},
        )
    assert (await post_file(served.http)).status_code == 200

    async def one_left() -> bool:
        return await count(served.database, files) == 1

    await until(one_left, what="the clean-up of the first try")


async def test_a_replay_is_held_to_the_same_limits(serve: Any) -> None:
    served = await serve(limits=Limits(max_file_bytes=1000))
    await post_file(served.http)
    answer = await post_file(served.http, b" " * 200_000)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "File is too large.")


def asked(database: Database, tenant: str = "a", body: bytes = b"{}") -> Once:
    once = Once(database, tenant, "POST /v1/batches", "k")
    once.body.json(body)
    return once


async def make(database: Database, once: Once) -> tuple[str, bool]:
    """The batch's id, and whether it was an earlier request's."""
    store = BatchStore(database)
    answer = await once.answer(lambda: store.create(once._tenant, WANTED, TRACE, once.keep))
    return _id(answer.content), bool(answer.headers)


def _id(content: Any) -> str:
    import json  # noqa: PLC0415 - here only

    return str(json.loads(content)["id"] if isinstance(content, bytes) else content.id)


async def test_the_commit_decides_on_both_databases(
    database: Database, database_settings: config.Database, tmp_path: Path
) -> None:
    """Two gateways, and requests to both at once: none has seen another's key when it begins."""
    second = open_database(database_settings, tmp_path)
    gateways = [database, second] * 3
    made = await asyncio.gather(*(make(gateway, asked(gateway)) for gateway in gateways))
    await second.close()
    assert len({batch_id for batch_id, _ in made}) == 1
    assert [replayed for _, replayed in made].count(False) == 1
    assert await count(database, batches) == 1
    with pytest.raises(ApiError):
        await make(database, asked(database, body=b"[]"))
    assert not (await make(database, asked(database, tenant="b")))[1]


async def test_a_key_is_free_again_after_a_day(database: Database, blobs: BlobStore) -> None:
    first, _ = await make(database, asked(database))
    async with database.write("in a test") as conn:
        old = clock.timestamp() - KEPT_S
        await conn.execute(update(idempotency_keys).values(created_at=old))
    second, replayed = await make(database, asked(database))
    assert (second != first, replayed) == (True, False)
    async with database.write("in a test") as conn:
        await conn.execute(update(idempotency_keys).values(created_at=old))
    stop = asyncio.Event()
    sweeping = asyncio.create_task(sweep_keys(database, stop))

    async def forgotten() -> bool:
        return await count(database, idempotency_keys) == 0

    await until(forgotten, what="the sweep")
    stop.set()
    await sweeping
