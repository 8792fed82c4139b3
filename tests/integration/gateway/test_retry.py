"""A new batch of what an ended one has no success for."""

import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, insert, select, update

from batch_common import clock, keys
from batch_common.formats.content import Content, Part, encode_content
from batch_common.formats.plan import RECORD
from batch_common.formats.result import result_id
from batch_common.ids import new_id
from batch_common.tables import files, outbox
from batch_gateway.retry_lines import LineSet
from support.gateway import make_batch, set_batch

KEY = {"idempotency-key": "again"}


def request(number: int, pad: int = 0) -> bytes:
    body = {"model": "m", "pad": "x" * pad}
    return json.dumps({"custom_id": f"c{number}", "body": body}).encode() + b"\n"


async def ended(
    served: Any, order: list[int], failed: list[int], status: str = "completed", **about: Any
) -> dict[str, Any]:
    """A batch whose lines ran in `order` (numbers of the input file); `failed` have no success."""
    batch = await make_batch(served.http, **about)
    batch_id = batch["id"]
    lines = [request(number, pad=number * 7919 % 3000) for number in order]
    index = np.zeros(len(order), RECORD)
    index["length"], index["line"] = [len(line) for line in lines], order
    await served.blobs.put(keys.plan_input(batch_id, "p"), b"".join(lines))
    await served.blobs.put(keys.plan_index(batch_id, "p"), index.tobytes())
    file_id = await add_error_file(served, batch_id, failed) if failed else None
    await set_batch(
        served.database,
        batch_id,
        status=status,
        in_progress_at=1,
        total=len(order),
        error_file_id=file_id,
        plan="p",
    )
    return batch


async def add_error_file(served: Any, batch_id: str, failed: list[int]) -> str:
    """In two objects, as two chunks leave it."""
    half, parts = len(failed) // 2, []
    for name, numbers in (("a", failed[:half]), ("b", failed[half:])):
        data = b"".join(
            json.dumps({"id": result_id(batch_id, n), "custom_id": f"c{n}"}).encode() + b"\n"
            for n in numbers
        )
        parts.append(Part(f"chunks/{batch_id}/{name}/att/errors.jsonl", len(data)))
        await served.blobs.put(parts[-1].key, data)
    content, file_id = Content(tuple(parts)), new_id("file-")
    key = keys.batch_content(batch_id, "error")
    await served.blobs.put(key, encode_content(content))
    row = {
        "id": file_id,
        "tenant": "default",
        "purpose": "batch_output",
        "filename": "e.jsonl",
        "bytes": content.bytes,
        "created_at": clock.timestamp(),
        "blob_key": key,
        "composed": True,
    }
    async with served.database.write("in a test") as conn:
        await conn.execute(insert(files).values(row))
    return file_id


async def retry(served: Any, batch_id: str, **headers: str) -> Any:
    return await served.http.post(f"/v1/batches/{batch_id}/retry", headers=headers)


async def file_count(served: Any) -> int:
    async with served.database.read() as conn:
        return int((await conn.execute(select(func.count()).select_from(files))).scalar_one())


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
async def test_the_new_batch_has_the_lines_of_the_error_file(served: Any, status: str) -> None:
    order = [3, 1, 7, 9, 8, 12]  # blank lines count; prefixes reorder
    about = {"metadata": {"a": "b"}, "output_expires_after": None}
    old = await ended(served, order, failed=[12, 1, 7], status=status, **about)
    new = (await retry(served, old["id"])).json()
    content = await served.http.get(f"/v1/files/{new['input_file_id']}/content")
    expected = b"".join(request(n, n * 7919 % 3000) for n in (1, 7, 12))
    assert content.content == expected.removesuffix(b"\n")
    assert new == {
        **old,
        "id": new["id"],
        "created_at": new["created_at"],
        "expires_at": new["created_at"] + 86_400,
        "input_file_id": new["input_file_id"],
        "metadata": {"a": "b", "retry_of": old["id"]},
    }
    file = (await served.http.get(f"/v1/files/{new['input_file_id']}")).json()
    assert (file["purpose"], file["filename"]) == ("batch", f"{old['id']}_retry.jsonl")
    assert file["expires_at"] == file["created_at"] + 30 * 86_400
    async with served.database.read() as conn:
        told = (await conn.execute(select(outbox).order_by(outbox.c.id.desc()))).first()
    assert told.subject == "batch.submitted"
    assert json.loads(told.body)["batch_id"] == new["id"]


async def test_many_lines_over_many_windows(served: Any) -> None:
    """Index blocks, read windows and gaps between them meet in every way."""
    order = list(range(20_000, 0, -1))
    failed = [n for n in order if n % 3 == 0 or 9_000 < n < 9_500]
    old = await ended(served, order, failed)
    new = (await retry(served, old["id"])).json()
    content = (await served.http.get(f"/v1/files/{new['input_file_id']}/content")).content
    assert [json.loads(line)["custom_id"] for line in content.splitlines()] == [
        f"c{number}" for number in failed
    ]


@pytest.mark.parametrize("lines", [1, 700])
async def test_the_new_file_is_no_larger_than_the_old_one(served: Any, lines: int) -> None:
    """One of the largest size that is allowed would else be refused, for its last newline."""
    order = list(range(1, lines + 1))
    allowed = sum(len(request(n, n * 7919 % 3000)) for n in order) - 1
    old = await ended(served, order, order)
    new = (await retry(served, old["id"])).json()
    file = (await served.http.get(f"/v1/files/{new['input_file_id']}")).json()
    assert file["bytes"] == allowed


async def test_a_retry_of_a_retry_names_its_parent(served: Any) -> None:
    old = await ended(served, [1], [1], metadata={"retry_of": "batch_older"})
    assert (await retry(served, old["id"])).json()["metadata"] == {"retry_of": old["id"]}


async def test_full_metadata_stays_as_it_is(served: Any) -> None:
    full = {f"k{n}": "v" for n in range(16)}
    old = await ended(served, [1], [1], metadata=full)
    assert (await retry(served, old["id"])).json()["metadata"] == full


async def test_under_one_key_there_is_one_retry(served: Any) -> None:
    old = await ended(served, [1, 2], [2])
    first, again = await retry(served, old["id"], **KEY), await retry(served, old["id"], **KEY)
    assert first.json() == again.json()
    other = await ended(served, [1, 2], [2])
    refused = await retry(served, other["id"], **KEY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert await file_count(served) == 3  # two error files, one input


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling"])
async def test_what_has_not_ended(served: Any, status: str) -> None:
    old = await ended(served, [1], [1], status=status)
    answer = await retry(served, old["id"])
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert f"with status '{status}'" in answer.json()["error"]["message"]


async def test_what_has_nothing_to_retry(served: Any) -> None:
    answered = await ended(served, [1, 2], [])
    failed = await make_batch(served.http)
    await set_batch(served.database, failed["id"], status="failed", failed_at=1)
    unread = await make_batch(served.http)
    await set_batch(served.database, unread["id"], status="cancelled", cancelled_at=1)
    for batch, words in (
        (answered, "all 2 requests"),
        (failed, "see its errors"),
        (unread, "create a new batch with its input file file-x"),
    ):
        answer = await retry(served, batch["id"])
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "nothing_to_retry")
        assert words in error["message"]


async def test_what_is_gone(served: Any) -> None:
    old, planless = await ended(served, [1], [1]), await ended(served, [1, 2], [1, 2])
    assert (await retry(served, "batch_x")).status_code == 404
    plan = [info.key for info in await served.blobs.list(keys.plan_prefix(planless["id"]))]
    await served.blobs.delete(plan)
    answer = await retry(served, planless["id"])
    assert (answer.status_code, "request lines" in answer.text) == (404, True)
    found = (await served.http.get(f"/v1/batches/{old['id']}")).json()
    await served.http.delete(f"/v1/files/{found['error_file_id']}")
    answer = await retry(served, old["id"])
    assert (answer.status_code, "deleted or has expired" in answer.text) == (404, True)
    assert await file_count(served) == 2  # nothing is left of what failed half-way


async def test_another_tenants_batch_is_unknown(two_tenants: Any) -> None:
    http = two_tenants.http
    http.headers["authorization"] = "Bearer sk-a"
    old = await ended(two_tenants, [1], [1])
    async with two_tenants.database.write("in a test") as conn:
        await conn.execute(update(files).values(tenant="a"))
    assert (await retry(two_tenants, old["id"])).status_code == 200
    answer = await retry(two_tenants, old["id"], authorization="Bearer sk-b")
    error = answer.json()["error"]
    assert (answer.status_code, error["message"]) == (404, f"No batch found with id '{old['id']}'.")


def test_a_set_of_lines() -> None:
    lines = LineSet()
    lines.add([1, 8, 9, 70_000])
    lines.add([])
    lines.add([2])
    asked = np.array([1, 2, 3, 7, 8, 9, 10, 69_999, 70_000, 4_000_000_000], np.uint32)
    assert asked[lines.mask(asked)].tolist() == [1, 2, 8, 9, 70_000]
    assert lines.count == 5
