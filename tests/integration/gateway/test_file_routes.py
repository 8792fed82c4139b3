"""Files over raw HTTP: fields, downloads, lists, deletion, tenants."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from batch_common import clock
from batch_common.config import Limits
from batch_common.formats.content import Content, Part, encode_content
from batch_common.tables import files
from support.gateway import LINE, make_file

A = {"authorization": "Bearer sk-a"}
B = {"authorization": "Bearer sk-b"}


async def test_every_field_is_there(served: Any) -> None:
    before = clock.timestamp()
    file = await make_file(served.http)
    assert before <= file["created_at"] <= clock.timestamp()
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(LINE),
        "created_at": file["created_at"],
        "expires_at": file["created_at"] + 2_592_000,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert file["id"].startswith("file-")
    assert (await served.http.get(f"/v1/files/{file['id']}")).json() == file


async def test_other_purposes_live_for_ever_unless_told(served: Any) -> None:
    file = await make_file(served.http, purpose="evals", name="x.csv")
    assert file["expires_at"] is None
    told = await make_file(
        served.http,
        purpose="evals",
        **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )
    assert told["expires_at"] == told["created_at"] + 3600


async def test_downloads_by_range(served: Any) -> None:
    data = LINE + bytes(range(10, 250)) * 14_000
    size = len(data)
    file = await make_file(served.http, data)
    for header, first, end in [
        ("bytes=0-4", 0, 5),
        ("bytes=1048570-1048590", 1_048_570, 1_048_591),
        ("bytes=-7", size - 7, size),
        ("bytes=3000000-", 3_000_000, size),
    ]:
        answer = await served.http.get(f"/v1/files/{file['id']}/content", headers={"range": header})
        assert (answer.status_code, answer.content) == (206, data[first:end]), header
        assert answer.headers["content-length"] == str(end - first)
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"


async def test_a_whole_download(served: Any) -> None:
    data = LINE + bytes(range(10, 250)) * 14_000
    file = await make_file(served.http, data)
    answer = await served.http.get(f"/v1/files/{file['id']}/content")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="in.jsonl"'
    assert answer.headers["accept-ranges"] == "bytes"


async def test_a_range_beyond_the_end(served: Any) -> None:
    file = await make_file(served.http)
    answer = await served.http.get(
        f"/v1/files/{file['id']}/content", headers={"range": "bytes=5000-"}
    )
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(LINE)}"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_head_and_etag(served: Any) -> None:
    file = await make_file(served.http)
    url = f"/v1/files/{file['id']}/content"
    head = await served.http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(LINE))
    again = await served.http.get(url, headers={"if-none-match": head.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_file_name_cannot_break_the_headers(served: Any) -> None:
    file = await make_file(served.http, name='/tmp/../ü"x\r\nset-cookie: a=b.jsonl')
    answer = await served.http.get(f"/v1/files/{file['id']}/content")
    assert "set-cookie" not in answer.headers
    assert "/" not in file["filename"]
    assert "filename*=UTF-8''%C3%BC" in answer.headers["content-disposition"]


async def test_a_composed_file_is_one_run_of_bytes(served: Any) -> None:
    """Output files are manifests over chunk objects."""
    file = await make_file(served.http)
    pieces = [b"a" * 1_500_000, b"b", b"c" * 700_000]
    for number, piece in enumerate(pieces):
        await served.blobs.put(f"x/{number}", piece)
    content = Content(tuple(Part(f"x/{n}", len(p)) for n, p in enumerate(pieces)))
    await served.blobs.put("x/content", encode_content(content))
    async with served.database.write("in a test") as conn:
        await conn.execute(
            update(files).values(blob_key="x/content", composed=True, bytes=content.bytes)
        )
    url = f"/v1/files/{file['id']}/content"
    assert (await served.http.get(url)).content == b"".join(pieces)
    part = await served.http.get(url, headers={"range": "bytes=1499999-1500001"})
    assert part.content == b"abc"


async def test_bytes_that_are_lost_are_an_error_not_an_empty_file(served: Any) -> None:
    file = await make_file(served.http)
    await served.blobs.delete([f"files/{file['id']}"])
    answer = await served.http.get(f"/v1/files/{file['id']}/content")
    assert answer.status_code == 500
    assert "missing from the server's blob store" in answer.json()["error"]["message"]


async def test_no_download_of_these_purposes(served: Any) -> None:
    file = await make_file(served.http, purpose="user_data")
    answer = await served.http.get(f"/v1/files/{file['id']}/content")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "Not allowed to download files of purpose: user_data"
    )


async def test_lists(served: Any) -> None:
    ids = [(await make_file(served.http))["id"] for _ in range(3)]
    other = (await make_file(served.http, purpose="evals"))["id"]
    page = (await served.http.get("/v1/files")).json()
    assert [file["id"] for file in page["data"]] == [other, *reversed(ids)]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == (
        "list",
        other,
        ids[0],
        False,
    )
    query = {"purpose": "batch", "order": "asc", "limit": 2}
    page = (await served.http.get("/v1/files", params=query)).json()
    assert [file["id"] for file in page["data"]] == ids[:2]
    assert page["has_more"] is True
    page = (await served.http.get("/v1/files", params={**query, "after": ids[1]})).json()
    assert [file["id"] for file in page["data"]] == ids[2:]
    empty = (await served.http.get("/v1/files", params={"purpose": "vision"})).json()
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_bad_list_queries(served: Any) -> None:
    for query, status, message, param in [
        ("limit=0", 400, "limit must be between 1 and 10000.", None),
        ("limit=10001", 400, "limit must be between 1 and 10000.", None),
        ("limit=many", 400, "Invalid value for 'limit'", "limit"),
        ("order=up", 400, "Invalid value for 'order'", "order"),
        ("after=file-x", 404, "Resource not found.", "after"),
        ("after=%00", 404, "Resource not found.", "after"),
    ]:
        answer = await served.http.get(f"/v1/files?{query}")
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param), query
        assert error["message"].startswith(message)


async def test_deleting_while_walking_through_a_list(served: Any) -> None:
    """The next page is asked for after an id that is gone by then."""
    ids = [(await make_file(served.http))["id"] for _ in range(3)]
    await served.http.delete(f"/v1/files/{ids[1]}")
    page = (await served.http.get("/v1/files", params={"after": ids[1]})).json()
    assert [file["id"] for file in page["data"]] == [ids[0]]


@pytest.mark.parametrize("after_what", ["deletion", "expiry"])
async def test_what_is_gone_looks_unknown_everywhere(served: Any, after_what: str) -> None:
    file = await make_file(served.http)
    url = f"/v1/files/{file['id']}"
    if after_what == "deletion":
        answer = await served.http.delete(url)
        assert answer.json() == {"id": file["id"], "object": "file", "deleted": True}
    else:
        async with served.database.write("in a test") as conn:
            await conn.execute(update(files).values(expires_at=clock.timestamp()))
    assert (await served.http.get("/v1/files")).json()["data"] == []
    for answer in (
        await served.http.get(url),
        await served.http.get(f"{url}/content"),
        await served.http.delete(url),
    ):
        assert answer.status_code == 404
        assert answer.json() == {
            "error": {
                "message": f"No such File object: {file['id']}",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            }
        }
    # Only the scheduler's sweeper removes bytes.
    assert await served.blobs.size(f"files/{file['id']}") == len(LINE)


async def test_ids_that_nobody_made(served: Any) -> None:
    for bad in ["file-x", "..", "%00", "%2e%2e%2fetc", "a" * 5000, "é"]:
        answer = await served.http.get(f"/v1/files/{bad}")
        assert answer.status_code == 404, bad
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_another_tenants_file_looks_unknown(two_tenants: Any) -> None:
    async with httpx.AsyncClient(base_url=two_tenants.url, headers=A) as a:
        file = await make_file(a)
    async with httpx.AsyncClient(base_url=two_tenants.url, headers=B) as b:
        url = f"/v1/files/{file['id']}"
        for answer in (
            await b.get(url),
            await b.get(f"{url}/content"),
            await b.delete(url),
            await b.get("/v1/files", params={"after": file["id"]}),
        ):
            assert answer.status_code == 404
        assert (await b.get("/v1/files")).json()["data"] == []
        theirs = (await b.delete(url)).json()
        unknown = (await b.delete("/v1/files/file-x")).json()
        assert json.dumps(theirs).replace(file["id"], "file-x") == json.dumps(unknown)
    async with httpx.AsyncClient(base_url=two_tenants.url, headers=A) as a:
        assert (await a.get(url)).json() == file


async def test_limits_hold_for_declared_and_for_counted_bytes(serve: Any) -> None:
    served = await serve(limits=Limits(max_batch_file_bytes=1000, max_file_bytes=3 << 20))
    await make_file(served.http, LINE.ljust(1000))
    await make_file(served.http, b"x" * (3 << 20), purpose="evals")
    for data, purpose in [
        (LINE.ljust(1001), "batch"),
        (b"x" * ((3 << 20) + 1), "evals"),
        (b"x" * (8 << 20), "evals"),
    ]:
        answer = await served.http.post(
            "/v1/files", data={"purpose": purpose}, files={"file": ("in.jsonl", data)}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "File is too large."


async def test_a_part_that_is_lost_cuts_the_download_off(served: Any) -> None:
    """The answer has begun by then: the client must see that it is short."""
    file = await make_file(served.http)
    await served.blobs.put("x/0", b"a" * 1000)
    content = Content((Part("x/0", 1000), Part("x/lost", 1000)))
    await served.blobs.put("x/content", encode_content(content))
    async with served.database.write("in a test") as conn:
        await conn.execute(
            update(files).values(blob_key="x/content", composed=True, bytes=content.bytes)
        )
    with pytest.raises(httpx.RemoteProtocolError):
        await served.http.get(f"/v1/files/{file['id']}/content")
