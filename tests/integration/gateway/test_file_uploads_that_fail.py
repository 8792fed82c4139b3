"""Whatever ends an upload early, nothing of it stays: no object, no row, no temporary file."""

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from batch_common.tables import files
from support.gateway import CHAT, LINE, make_file
from support.wait import until

BOUNDARY = "XbX"


def form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    """A multipart body; each part is its Content-Disposition parameters and its bytes."""
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {what}\r\n\r\n".encode() + data + b"\r\n"
        for what, data in parts
    )
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


PURPOSE = ('name="purpose"', b"batch")
FILE = ('name="file"; filename="in.jsonl"', LINE)


async def post(served: Any, body: bytes | AsyncIterator[bytes]) -> httpx.Response:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer: httpx.Response = await served.http.post(
        "/v1/files", content=body, headers={"content-type": kind}
    )
    return answer


async def leftovers(served: Any) -> list[str]:
    """Rows, hidden ones among them, objects and temporary files."""
    async with served.database.read() as conn:
        rows = [row.id for row in await conn.execute(select(files.c.id))]
    folder = Path(served.config.data_dir) / "blobs"
    return rows + [str(path) for path in folder.rglob("*") if path.is_file()]


BAD_FORMS = [
    (form(FILE), "Missing required parameter: 'purpose'.", "purpose"),
    (form(PURPOSE), "Missing required parameter: 'file'.", "file"),
    (form(('name="purpose"', b"parrot"), FILE), "'parrot' is not one of", "purpose"),
    (form(FILE, ('name="purpose"', b"parrot")), "'parrot' is not one of", "purpose"),
    (form(PURPOSE, ('name="file"; filename="a.csv"', LINE)), "Must be .jsonl", None),
    (form(('name="file"; filename="a.csv"', LINE), PURPOSE), "Must be .jsonl", None),
    (form(PURPOSE, ('name="file"; filename="a.jsonl"', b"")), "Must be .jsonl", None),
    (form(PURPOSE, ('name="file"; filename="a.jsonl"', b"nope\n")), "Must be .jsonl", None),
    (form(PURPOSE, FILE, FILE), "Only one 'file'", "file"),
    (form(('name="purpose"', b"b" * 5000), FILE), "too long", "purpose"),
    (form(('name="purpose"', b"\xff\xfe"), FILE), "not UTF-8", None),
    (form(*([PURPOSE] * 40), FILE), "cannot be read", None),
    (form(PURPOSE, FILE, end=False), "cannot be read", None),
    (b"", "cannot be read", None),
    (b"garbage" * 1000, "cannot be read", None),
    (
        form(PURPOSE, FILE, ('name="expires_after[seconds]"', b"5")),
        "expires_after.anchor",
        "expires_after.anchor",
    ),
]


async def test_bad_forms(served: Any) -> None:
    for body, message, param in BAD_FORMS:
        answer = await post(served, body)
        error = answer.json()["error"]
        assert answer.status_code == 400, message
        assert message in error["message"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param), message
        assert await leftovers(served) == [], message


async def test_the_purpose_may_come_after_the_file(served: Any) -> None:
    answer = await post(served, form(FILE, PURPOSE))
    assert answer.json()["purpose"] == "batch"


async def test_raw_bytes_from_the_client_are_named_upload(served: Any) -> None:
    file = await make_file(served.http, name="upload")
    assert (file["filename"], file["purpose"]) == ("upload", "batch")


async def test_json_in_place_of_a_form(served: Any) -> None:
    answer = await served.http.post("/v1/files", json={"purpose": "batch"})
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


async def test_a_client_that_goes_away_in_the_middle(served: Any) -> None:
    """The bytes so far are in a temporary file and behind a hidden row; then the wire breaks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.config.gateway.port)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: {50 << 20}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    writer.write(head.encode() + form(PURPOSE, FILE, end=False)[:-4] + b" " * (3 << 20))
    await writer.drain()

    async def begun() -> bool:
        return len(await leftovers(served)) >= 2

    await until(begun, what="an upload in progress")
    assert (await served.http.get("/v1/files")).json()["data"] == []
    writer.close()
    await writer.wait_closed()

    async def gone() -> bool:
        return await leftovers(served) == []

    await until(gone, what="the clean-up")
    assert not await reader.read()


async def test_a_full_disk(served: Any) -> None:
    """A limit on file sizes makes the write fail as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))
    try:
        answer = await post(served, form(PURPOSE, (FILE[0], LINE + b" " * (6 << 20))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.status_code == 507
    error = answer.json()["error"]
    assert error["type"] == "server_error"
    assert "no space" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert await leftovers(served) == []
    assert (await make_file(served.http))["status"] == "processed"


async def test_no_space_for_the_database(served: Any) -> None:
    """Past a limit on file sizes, as past a quota, SQLite speaks of an error in writing."""
    log = Path(served.config.data_dir) / "batches.db-wal"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    batch = {"input_file_id": "f", "endpoint": CHAT, "completion_window": "24h"}
    try:
        answers = [await served.http.post("/v1/batches", json=batch) for _ in range(5)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answers[-1].status_code == 507, answers[-1].text
    assert "no space left for its database" in answers[-1].json()["error"]["message"]
    assert {answer.status_code for answer in answers} <= {200, 507}
    assert (await served.http.post("/v1/batches", json=batch)).status_code == 200


async def test_a_full_disk_while_a_part_comes_in(served: Any) -> None:
    """The upload stays, and takes the part when there is room again."""
    data = LINE + b" " * (6 << 20)
    about = {"filename": "a.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
    upload = (await served.http.post("/v1/uploads", json={**about, "bytes": len(data)})).json()
    path, form = f"/v1/uploads/{upload['id']}/parts", {"files": {"data": ("part", data)}}
    key = {"idempotency-key": "part-1"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))
    try:
        answer = await served.http.post(path, headers=key, **form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.headers["x-should-retry"]) == (507, "false")
    assert await leftovers(served) == []
    assert (await served.http.post(path, headers=key, **form)).status_code == 200


async def test_a_gateway_that_is_stopped_in_the_middle(served: Any) -> None:
    """The drain ends while the client still sends: the request is cut off and cleans up."""

    async def slow() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE, end=False)
        while True:
            yield b" " * 100_000
            await asyncio.sleep(0.05)

    request = asyncio.create_task(post(served, slow()))

    async def begun() -> bool:
        return len(await leftovers(served)) >= 2

    await until(begun, what="an upload in progress")
    served.stop.set()
    await asyncio.wait_for(served.task, 10)
    with pytest.raises(httpx.TransportError):
        await request
    assert await leftovers(served) == []
