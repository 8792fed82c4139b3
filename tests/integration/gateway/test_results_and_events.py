"""Results so far and progress, from rows and objects as the scheduler makes them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.gateway import add_chunk, commit_chunk, make_batch, make_file, set_batch, start_batch


async def read(served: Any, batch_id: str, offset: int = 0) -> tuple[bytes, int, str]:
    answer = await served.http.get(f"/v1/batches/{batch_id}/results", params={"offset": offset})
    assert answer.status_code == 200, answer.text
    headers = answer.headers
    return answer.content, int(headers["x-next-offset"]), headers["x-batch-finished"]


async def test_results_grow_by_commits_and_offsets_stay_good(served: Any) -> None:
    batch = (await make_batch(served.http))["id"]
    assert await read(served, batch) == (b"", 0, "false")
    await start_batch(served.database, batch, total=30)
    await add_chunk(served.database, batch, completed=5)
    assert await read(served, batch) == (b"", 0, "false")

    await commit_chunk(served.database, served.blobs, batch, 1, b'{"a":1}\n', b'{"b":1}\n')
    first, offset, finished = await read(served, batch)
    assert (first, offset, finished) == (b'{"a":1}\n{"b":1}\n', 16, "false")
    assert await read(served, batch, offset) == (b"", 16, "false")

    await commit_chunk(served.database, served.blobs, batch, 2, errors=b'{"c":1}\n')
    await commit_chunk(served.database, served.blobs, batch, 3, b"x" * 1_500_000 + b"\n")
    rest, end, finished = await read(served, batch, offset)
    assert rest == b'{"c":1}\n' + b"x" * 1_500_000 + b"\n"
    assert (end, finished) == (16 + len(rest), "false")
    assert (await read(served, batch))[0] == first + rest
    assert (await read(served, batch, 20))[0] == (first + rest)[20:]

    await set_batch(served.database, batch, status="completed")
    assert await read(served, batch, end) == (b"", end, "true")


@pytest.mark.parametrize("offset", ["-1", "1", "many"])
async def test_an_offset_that_was_never_given(served: Any, offset: str) -> None:
    batch = (await make_batch(served.http))["id"]
    answer = await served.http.get(f"/v1/batches/{batch}/results?offset={offset}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "offset"


async def test_results_go_with_their_files(served: Any) -> None:
    batch = (await make_batch(served.http))["id"]
    await commit_chunk(served.database, served.blobs, batch, 1, b"{}\n")
    output = await make_file(served.http)
    await set_batch(served.database, batch, status="completed", output_file_id=output["id"])
    assert (await read(served, batch))[0] == b"{}\n"
    await served.http.delete(f"/v1/files/{output['id']}")
    answer = await served.http.get(f"/v1/batches/{batch}/results")
    assert answer.status_code == 404
    assert "are gone" in answer.json()["error"]["message"]


async def test_another_tenants_results_and_events(two_tenants: Any) -> None:
    http = two_tenants.http
    http.headers["authorization"] = "Bearer sk-a"
    batch = (await make_batch(http))["id"]
    http.headers["authorization"] = "Bearer sk-b"
    for what in ("results", "events"):
        answer = await http.get(f"/v1/batches/{batch}/{what}")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No batch found with id '{batch}'."


async def events(served: Any, batch_id: str) -> AsyncIterator[dict[str, Any]]:
    async with served.http.stream("GET", f"/v1/batches/{batch_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def test_events_show_each_change_and_end_with_the_batch(served: Any) -> None:
    batch = await make_batch(served.http)
    stream = events(served, batch["id"])
    assert await anext(stream) == batch
    await start_batch(served.database, batch["id"], total=10)
    assert (await anext(stream))["status"] == "in_progress"
    await add_chunk(served.database, batch["id"], completed=4)
    assert (await anext(stream))["request_counts"]["completed"] == 4
    await set_batch(served.database, batch["id"], status="completed", completed=10)
    last = await anext(stream)
    assert (last["status"], last["request_counts"]["completed"]) == ("completed", 10)
    assert await anext(stream, None) is None


async def test_events_of_a_batch_that_is_over_are_one(served: Any) -> None:
    batch = await make_batch(served.http)
    await set_batch(served.database, batch["id"], status="failed")
    assert [event["status"] async for event in events(served, batch["id"])] == ["failed"]


async def test_an_open_stream_does_not_hold_up_the_end(serve: Any) -> None:
    """A drain of 60 s would be needed otherwise."""
    served = await serve(gateway={"drain_s": 60.0})
    batch = await make_batch(served.http)
    stream = events(served, batch["id"])
    assert (await anext(stream))["status"] == "validating"
    served.stop.set()
    await asyncio.wait_for(served.task, 5)
    assert [event async for event in stream] == []
