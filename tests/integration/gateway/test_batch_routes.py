"""Batches over raw HTTP: every field, counts while running, the events behind the answers."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from batch_common import clock, subjects
from batch_common.config import Limits, Sinks
from batch_common.tables import batches, outbox
from support.gateway import CHAT, add_chunk, make_batch, set_batch, start_batch
from support.wait import until


async def get(served: Any, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await served.http.get(f"/v1/batches/{batch_id}")).json()
    return found


async def test_every_field_of_a_new_batch(served: Any) -> None:
    batch = await make_batch(served.http, metadata=None)
    assert batch == {
        "id": batch["id"],
        "object": "batch",
        "endpoint": CHAT,
        "model": None,
        "errors": None,
        "input_file_id": "file-x",
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": batch["created_at"],
        "in_progress_at": None,
        "expires_at": batch["created_at"] + 86_400,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": None,
    }
    assert await get(served, batch["id"]) == batch
    assert (await served.http.get("/v1/batches")).json() == {
        "object": "list",
        "data": [batch],
        "first_id": batch["id"],
        "last_id": batch["id"],
        "has_more": False,
    }


async def test_a_sink_that_there_is_not_is_refused(serve: Any) -> None:
    served = await serve(sinks=Sinks(enabled=("s3", "postgres")))
    wanted = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
    answer = await served.http.post("/v1/batches", json={**wanted, "metadata": {"sinks": "s3,s4"}})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "metadata.sinks")
    assert "no sink 's4'. It has s3, postgres, webhook" in error["message"]
    assert (await served.http.get("/v1/batches")).json()["data"] == []
    batch = await make_batch(served.http, metadata={"sinks": "s3, postgres"})
    assert batch["metadata"] == {"sinks": "s3, postgres"}


async def test_every_field_of_a_finished_batch(served: Any) -> None:
    batch = await make_batch(served.http, metadata={"a": "b"})
    await set_batch(
        served.database,
        batch["id"],
        status="completed",
        model="org/m",
        in_progress_at=1,
        finalizing_at=2,
        completed_at=3,
        output_file_id="file-out",
        total=10,
        completed=8,
        failed=2,
        input_tokens=100,
        cached_tokens=50,
        output_tokens=20,
        reasoning_tokens=5,
    )
    assert await get(served, batch["id"]) == {
        **batch,
        "status": "completed",
        "model": "org/m",
        "in_progress_at": 1,
        "finalizing_at": 2,
        "completed_at": 3,
        "output_file_id": "file-out",
        "request_counts": {"total": 10, "completed": 8, "failed": 2},
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 50},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 120,
        },
    }


async def test_the_errors_of_a_failed_batch(served: Any) -> None:
    batch = await make_batch(served.http)
    errors = [
        {"code": "invalid_json_line", "message": "…", "param": None, "line": 3},
        {"code": "invalid_request", "message": "…", "param": "file_id", "line": None},
    ]
    await set_batch(served.database, batch["id"], status="failed", errors=errors, failed_at=1)
    found = await get(served, batch["id"])
    assert found["errors"] == {"object": "list", "data": errors}
    assert found["usage"] is None


async def test_counts_while_running_are_those_of_the_chunks(served: Any) -> None:
    batch, other = await make_batch(served.http), await make_batch(served.http)
    for made in (batch, other):
        await start_batch(served.database, made["id"], total=100)
    await add_chunk(served.database, batch["id"], completed=3, failed=1)
    await add_chunk(served.database, batch["id"], completed=10, state="committed", commit_seq=1)
    await set_batch(served.database, batch["id"], completed=10)
    found = await get(served, batch["id"])
    assert found["request_counts"] == {"total": 100, "completed": 13, "failed": 1}
    listed = (await served.http.get("/v1/batches")).json()["data"]
    assert [b["request_counts"]["completed"] for b in listed] == [0, 13]


async def test_creation_and_cancellation_are_told_to_the_scheduler(served: Any) -> None:
    """Through the outbox, in the transaction of the row; the gateway's own relay sends them."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = await served.http.post(
        "/v1/batches",
        json={"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"},
        headers={"traceparent": trace},
    )
    batch = answer.json()
    for _ in range(2):
        cancel = await served.http.post(
            f"/v1/batches/{batch['id']}/cancel", headers={"content-type": "application/json"}
        )
        assert cancel.json()["status"] == "cancelling"

    async def sent() -> bool:
        async with served.database.read() as conn:
            rows = (await conn.execute(select(outbox).order_by(outbox.c.id))).all()
        assert [row.subject for row in rows] == ["batch.submitted", "batch.cancelling"]
        assert all(row.headers["traceparent"] == trace for row in rows)
        assert {json.loads(row.body)["batch_id"] for row in rows} == {batch["id"]}
        assert {row.stream for row in rows} == {subjects.BATCHES}
        return all(row.sent_at is not None for row in rows)

    await until(sent, what="the relay")
    async with served.database.read() as conn:
        assert (await conn.execute(select(batches.c.traceparent))).scalar_one() == trace


@pytest.mark.parametrize("status", ["in_progress", "finalizing"])
async def test_cancelling_what_runs(served: Any, status: str) -> None:
    batch = await make_batch(served.http)
    await set_batch(served.database, batch["id"], status=status, in_progress_at=1)
    before = clock.timestamp()
    found = (await served.http.post(f"/v1/batches/{batch['id']}/cancel")).json()
    assert found["status"] == "cancelling"
    assert found["cancelling_at"] >= before


async def test_past_its_window_a_batch_ends_without_being_cancelled(served: Any) -> None:
    """Some of its lines may say `batch_expired` by now; what is finalizing has none of those."""
    batch = await make_batch(served.http)
    over = clock.timestamp()
    await set_batch(served.database, batch["id"], status="in_progress", expires_at=over)
    answer = await served.http.post(f"/v1/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert "its completion window is over" in answer.json()["error"]["message"]
    assert (await get(served, batch["id"]))["status"] == "in_progress"
    await set_batch(served.database, batch["id"], status="finalizing")
    answer = await served.http.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.json()["status"] == "cancelling"


async def test_cancelling_again_after_the_end_is_fine(served: Any) -> None:
    batch = await make_batch(served.http)
    await set_batch(served.database, batch["id"], status="cancelled", cancelled_at=1)
    answer = await served.http.post(f"/v1/batches/{batch['id']}/cancel", content=b"garbage")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


async def test_other_completion_windows_where_allowed(serve: Any) -> None:
    served = await serve(limits=Limits(completion_windows=("24h", "30m")))
    batch = await make_batch(served.http, completion_window="30m")
    assert batch["expires_at"] == batch["created_at"] + 1800
    answer = await served.http.post(
        "/v1/batches",
        json={"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "7d"},
    )
    assert answer.status_code == 400
    assert "Supported values are: '24h', '30m'." in answer.json()["error"]["message"]
