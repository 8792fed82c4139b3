"""Uploads over raw HTTP: fields, states, limits, and what the sweep removes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from batch_common import clock, keys
from batch_common.config import Limits
from batch_common.tables import upload_parts, uploads
from batch_gateway.upload_sweep import UploadSweep
from support.gateway import LINE

ABOUT = {
    "bytes": len(LINE),
    "filename": "in.jsonl",
    "mime_type": "application/jsonl",
    "purpose": "batch",
}


async def create(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await http.post("/v1/uploads", json={**ABOUT, **changes})
    assert answer.status_code == 200, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


async def post_part(http: httpx.AsyncClient, upload_id: str, data: bytes) -> httpx.Response:
    return await http.post(f"/v1/uploads/{upload_id}/parts", files={"data": ("blob", data)})


async def add_part(http: httpx.AsyncClient, upload_id: str, data: bytes) -> str:
    answer = await post_part(http, upload_id, data)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def complete(
    http: httpx.AsyncClient, upload_id: str, part_ids: Any, **more: Any
) -> httpx.Response:
    body = {"part_ids": part_ids, **more}
    return await http.post(f"/v1/uploads/{upload_id}/complete", json=body)


def objects(served: Any) -> list[Path]:
    folder = Path(served.config.data_dir) / "blobs" / "objects" / "uploads"
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_every_field_is_there(served: Any) -> None:
    upload = await create(served.http, expires_after={"anchor": "created_at", "seconds": 3600})
    assert upload == {
        "id": upload["id"],
        "object": "upload",
        "bytes": len(LINE),
        "created_at": upload["created_at"],
        "expires_at": upload["created_at"] + 3600,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    assert upload["id"].startswith("upload_")
    answer = await post_part(served.http, upload["id"], LINE)
    part = answer.json()
    assert part == {
        "id": part["id"],
        "object": "upload.part",
        "created_at": part["created_at"],
        "upload_id": upload["id"],
    }
    done = (await complete(served.http, upload["id"], [part["id"]])).json()
    file = done["file"]
    assert done == {**upload, "status": "completed", "file": file}
    assert file["expires_at"] == file["created_at"] + 3600
    assert (await served.http.get(f"/v1/files/{file['id']}")).json() == file


async def test_parts_stand_in_the_order_of_the_request(served: Any) -> None:
    pieces = [LINE, b"b" * 1_200_000, b"", b"c" * 10]
    upload = await create(served.http, bytes=sum(map(len, pieces)))
    ids = await asyncio.gather(
        *(add_part(served.http, upload["id"], piece) for piece in reversed(pieces))
    )
    await add_part(served.http, upload["id"], b"never named")
    done = (await complete(served.http, upload["id"], ids[::-1])).json()
    answer = await served.http.get(f"/v1/files/{done['file']['id']}/content")
    assert answer.content == b"".join(pieces)


async def test_an_empty_file(served: Any) -> None:
    upload = await create(served.http, bytes=0, purpose="evals", filename="x.csv")
    done = (await complete(served.http, upload["id"], [])).json()
    url = f"/v1/files/{done['file']['id']}/content"
    assert (await served.http.get(url)).content == b""


async def test_what_completion_refuses(served: Any) -> None:
    upload, other = await create(served.http), await create(served.http)
    part = await add_part(served.http, upload["id"], LINE)
    foreign = await add_part(served.http, other["id"], LINE)
    for part_ids, more, text in [
        ([], {}, "The parts have 0 bytes together, but"),
        ([part, part], {}, "named twice"),
        ([foreign], {}, f"has no part '{foreign}'"),
        (["part_x"], {}, "has no part 'part_x'"),
        ([part], {"md5": "0" * 32}, "MD5"),
        ("part", {}, "expected an array"),
        ([7], {}, "expected a string"),
    ]:
        answer = await complete(served.http, upload["id"], part_ids, **more)
        assert answer.status_code == 400, text
        assert text in answer.json()["error"]["message"]
    assert (await served.http.get("/v1/files")).json()["data"] == []
    assert (await complete(served.http, upload["id"], [part])).status_code == 200


async def test_a_batch_file_of_parts_gets_the_shallow_look_too(served: Any) -> None:
    data = b"not json".ljust(len(LINE))
    upload = await create(served.http)
    part = await add_part(served.http, upload["id"], data)
    answer = await complete(served.http, upload["id"], [part])
    assert answer.status_code == 400
    assert "Must be .jsonl" in answer.json()["error"]["message"]


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
async def test_an_upload_that_is_over_changes_no_more(served: Any, end: str) -> None:
    upload = await create(served.http)
    part = await add_part(served.http, upload["id"], LINE)
    url = f"/v1/uploads/{upload['id']}"
    if end == "completed":
        await complete(served.http, upload["id"], [part])
    elif end == "cancelled":
        answer = await served.http.post(f"{url}/cancel")
        assert (answer.json()["status"], answer.json()["file"]) == ("cancelled", None)
        assert objects(served) == []
    else:
        async with served.database.write("in a test") as conn:
            await conn.execute(update(uploads).values(expires_at=clock.timestamp()))
    kept = objects(served)
    for answer in (
        await post_part(served.http, upload["id"], LINE),
        await complete(served.http, upload["id"], [part]),
        await served.http.post(f"{url}/cancel"),
    ):
        assert answer.status_code == 400
        assert f"is {end}" in answer.json()["error"]["message"]
    assert objects(served) == kept


async def test_two_completions_at_once_make_one_file(served: Any) -> None:
    upload = await create(served.http)
    part = await add_part(served.http, upload["id"], LINE)
    answers = await asyncio.gather(*(complete(served.http, upload["id"], [part]) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    assert len((await served.http.get("/v1/files")).json()["data"]) == 1
    folder = Path(served.config.data_dir) / "blobs" / "objects" / "files"
    assert len(list(folder.iterdir())) == 1


async def test_a_part_that_is_too_large_leaves_nothing(serve: Any) -> None:
    served = await serve(limits=Limits(max_part_bytes=2 << 20))
    upload = await create(served.http, bytes=5 << 20)
    answer = await post_part(served.http, upload["id"], b"x" * ((2 << 20) + 1))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "File is too large."
    missing = await served.http.post(
        f"/v1/uploads/{upload['id']}/parts", files={"other": ("blob", b"x")}
    )
    assert missing.json()["error"]["param"] == "data"
    assert objects(served) == []


async def test_another_tenants_upload_looks_unknown(two_tenants: Any) -> None:
    http = two_tenants.http
    a, b = ({"authorization": f"Bearer sk-{key}"} for key in "ab")
    upload = (await http.post("/v1/uploads", json=ABOUT, headers=a)).json()
    url = f"/v1/uploads/{upload['id']}"
    for answer in (
        await http.post(f"{url}/cancel", headers=b),
        await http.post(f"{url}/complete", json={"part_ids": []}, headers=b),
        await http.post(f"{url}/parts", files={"data": ("blob", b"x")}, headers=b),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No such Upload object: {upload['id']}"
    assert objects(two_tenants) == []


async def test_the_sweep_keeps_what_a_file_is_made_of(served: Any) -> None:
    """Long after: parts without a file go, those a gateway lost before their row among them."""
    done, given_up = await create(served.http), await create(served.http)
    part = await add_part(served.http, done["id"], LINE)
    await add_part(served.http, done["id"], b"never named")
    await complete(served.http, done["id"], [part])
    await add_part(served.http, given_up["id"], LINE)
    await served.blobs.put(keys.upload_part(given_up["id"], "part_orphan"), b"no row")
    running = await create(served.http)
    await add_part(served.http, running["id"], LINE)
    over = uploads.c.id != running["id"]
    async with served.database.write("in a test") as conn:
        await conn.execute(update(uploads).where(over).values(expires_at=clock.timestamp() - 3601))
    await UploadSweep(served.database, served.blobs).sweep_page()
    assert {path.parent.name for path in objects(served)} == {done["id"], running["id"]}
    assert len(objects(served)) == 2
    async with served.database.read() as conn:
        rows = (await conn.execute(select(upload_parts.c.upload_id))).all()
        assert [row.upload_id for row in rows] == [running["id"]]
    file = (await served.http.get("/v1/files")).json()["data"][0]
    assert (await served.http.get(f"/v1/files/{file['id']}/content")).content == LINE
