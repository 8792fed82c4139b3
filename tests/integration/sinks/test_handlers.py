"""Result handlers of the user's own, in the service: good ones, and every kind of bad one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import update

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.config import CustomHandler
from batch_common.db import Database
from batch_common.events import DeliveryFailed, decode
from batch_common.secret import Options
from batch_common.subjects import DEAD
from batch_common.tables import batches, deliveries
from batch_sinks import deliverer, thread_call
from support.finished import PLAN, Finished
from support.nats_process import NatsProcess
from support.receiver import Receiver
from support.wait import until

from .conftest import EndBatch, FindRow, InState, Serve, on_sqlite

BATCH = {"lines": 250, "fails": 10, "sinks": ("mine",)}


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_call, "GRACE_S", 0.3)


def mine(books: Path, kind: str, *more: str, limit_s: float = 30.0, **options: Any) -> dict:
    """Settings with one handler `mine` of that class, and other sinks beside it."""
    own = CustomHandler(
        handler=f"support.handlers:{kind}",
        options=Options({"folder": str(books), **options}),
        limit_s=limit_s,
    )
    return {"enabled": ("mine", *more), "custom": {"mine": own}}


def calls(books: Path) -> list[dict[str, Any]]:
    path = books / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stored(books: Path, batch_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (books / f"{batch_id}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["Sync", "Async"])
async def test_a_handler_gets_every_result_with_its_request(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path, kind: str
) -> None:
    wanted = Finished(**BATCH, metadata={"project": "demo"})
    async with serve(handlers=mine(books, kind)):
        batch_id = await end_batch(**msgspec.structs.asdict(wanted))
        await until(in_state("delivered", batch_id, sink="mine"))
    results = {result["custom_id"]: result for result in stored(books, batch_id)}
    assert len(stored(books, batch_id)) == len(results) == 250
    for line in range(1, 251):
        expected = wanted.result(batch_id, line) | {"request": wanted.request(line)}
        assert results[f"r{line}"] == expected
    [call] = calls(books)
    assert (call["batch"], call["tenant"], call["status"]) == (batch_id, "default", "completed")
    assert call["metadata"] == {"project": "demo"}
    assert call["request_counts"] == {"total": 250, "completed": 225, "failed": 25}
    assert call["output_file_id"]
    assert call["error_file_id"]
    assert (call["event_type"], call["attempt"]) == ("batch.completed", 1)


@on_sqlite
@pytest.mark.parametrize("kind", ["batch.expired", "batch.cancelled", "batch.failed"])
async def test_every_end_with_a_file_is_handled_and_no_other(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path, kind: str
) -> None:
    async with serve(handlers=mine(books, "Sync")):
        without = await end_batch(kind, sinks=("mine",))
        with_file = await end_batch(kind, lines=3, fails=1, sinks=("mine",))
        await until(in_state("delivered", with_file, sink="mine"))
        await until(in_state("skipped", without, sink="mine"))
    assert [call["batch"] for call in calls(books)] == [with_file]


@on_sqlite
async def test_results_whose_plan_is_gone_come_without_requests(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path, blobs: BlobStore
) -> None:
    batch_id = await end_batch(**BATCH)
    await blobs.delete([keys.plan_input(batch_id, PLAN), keys.plan_index(batch_id, PLAN)])
    async with serve(handlers=mine(books, "Sync")):
        await until(in_state("delivered", batch_id, sink="mine"))
    results = stored(books, batch_id)
    assert len(results) == 250
    assert {result["request"] for result in results} == {None}


@on_sqlite
async def test_results_that_cannot_be_read_are_a_failed_attempt(
    serve: Serve, end_batch: EndBatch, find_row: FindRow, books: Path, blobs: BlobStore
) -> None:
    batch_id = await end_batch(**BATCH)
    found = await blobs.list(f"chunks/{batch_id}/")
    await blobs.delete([info.key for info in found])

    async def failed() -> bool:
        return "no object in the blob store" in (
            (await find_row(batch_id, "mine")).last_error or ""
        )

    async with serve(handlers=mine(books, "Async")):
        await until(failed)
    assert (await find_row(batch_id, "mine")).state == "pending"


@on_sqlite
async def test_a_link_to_what_was_delivered_is_kept(
    serve: Serve, end_batch: EndBatch, in_state: InState, find_row: FindRow, books: Path
) -> None:
    async with serve(handlers=mine(books, "Links")):
        batch_id = await end_batch(**BATCH)
        await until(in_state("delivered", batch_id, sink="mine"))
    assert (await find_row(batch_id, "mine")).link == f"https://warehouse.internal/{batch_id}"


@on_sqlite
async def test_one_that_is_not_configured_is_skipped(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path
) -> None:
    async with serve(handlers=mine(books, "NotConfigured")):
        batch_id = await end_batch(**BATCH)
        await until(in_state("skipped", batch_id, sink="mine"))
    assert calls(books) == []
    async with serve(handlers=mine(books, "NotConfigured", token="t")):
        batch_id = await end_batch(**BATCH)
        await until(in_state("delivered", batch_id, sink="mine"))


@on_sqlite
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("Raises", "the handler raised SystemExit: the warehouse is closed"),
        ("SaysNo", "the handler did not return True, which would have said that all is delivered"),
    ],
)
async def test_one_that_fails_is_tried_again(
    serve: Serve,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    books: Path,
    kind: str,
    error: str,
) -> None:
    seen: set[str | None] = set()
    async with serve(handlers=mine(books, kind)):
        batch_id = await end_batch(**BATCH)

        async def delivered() -> bool:
            seen.add((await find_row(batch_id, "mine")).last_error)
            return await in_state("delivered", batch_id, sink="mine")()

        await until(delivered)
    assert error in seen
    assert [call["attempt"] for call in calls(books)] == [1, 2]
    assert len({call["event_id"] for call in calls(books)}) == 1


@on_sqlite
@pytest.mark.parametrize("how", ["sync", "reading", "async", "blocked loop"])
async def test_one_that_hangs_holds_up_nobody_and_ends_at_its_limit(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    books: Path,
    how: str,
) -> None:
    handlers = mine(books, "Hangs", "webhook", limit_s=4.0, how=how)
    async with serve(handlers=handlers):
        batch_id = await end_batch(lines=250, sinks=("mine", "webhook"))
        await until(lambda: len(calls(books)) == 1, what="the call that hangs")
        others = [await end_batch(lines=1) for _ in range(5)]
        await until(in_state("delivered", batch_id, *others), what="webhooks")
        # It still hangs in its first call.
        assert (await find_row(batch_id, "mine")).last_error is None
        await until(in_state("delivered", batch_id, sink="mine"))
    assert [call["attempt"] for call in calls(books)] == [1, 2]
    if how in ("reading", "async"):
        assert (books / "ended").exists()


@on_sqlite
async def test_calls_that_never_end_are_left_behind_up_to_a_number(
    serve: Serve,
    end_batch: EndBatch,
    find_row: FindRow,
    books: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("batch_sinks.handler_sink._LEFT_BEHIND", 1)

    async def said() -> bool:
        return "1 earlier calls of this handler never came back" in (
            (await find_row(batch_id, "mine")).last_error or ""
        )

    async with serve(handlers=mine(books, "Hangs", limit_s=0.3, how="sync")):
        batch_id = await end_batch(**BATCH)
        await until(said)
    assert len(calls(books)) == 1


async def test_one_that_takes_longer_than_its_claim_is_called_once(
    serve: Serve,
    end_batch: EndBatch,
    in_state: InState,
    books: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Race: without the heartbeat the second service would take the row over."""
    monkeypatch.setattr(deliverer, "_CLAIM_S", 2.0)
    handlers = mine(books, "Slow", seconds=6.0)
    async with serve(handlers=handlers), serve(handlers=handlers):
        batch_id = await end_batch(**BATCH)
        await until(in_state("delivered", batch_id, sink="mine"))
    assert len(calls(books)) == 1


@on_sqlite
async def test_a_stop_does_not_wait_for_one_that_hangs(
    serve: Serve, end_batch: EndBatch, books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "_DRAIN_S", 0.5)
    async with serve(handlers=mine(books, "Hangs", limit_s=3600.0, how="sync")) as stop:
        await end_batch(**BATCH)
        await until(lambda: len(calls(books)) == 1)
        began = asyncio.get_running_loop().time()
        stop.set()
    assert asyncio.get_running_loop().time() - began < 10


@on_sqlite
async def test_one_that_is_given_up_leaves_a_dead_message(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path, bus: Bus
) -> None:
    async with serve(handlers=mine(books, "Raises"), retry_for_s=0.001):
        batch_id = await end_batch(**BATCH)
        await until(in_state("failed", batch_id, sink="mine"))
        await until(lambda: bus.holds(DEAD, "dead.mine"))
    message = await bus.js.get_last_msg(DEAD, "dead.mine")
    dead = decode(message.data, DeliveryFailed)
    assert (dead.batch_id, dead.sink) == (batch_id, "mine")
    assert "the warehouse is closed" in dead.error


@on_sqlite
async def test_a_lost_jetstream_store_loses_no_delivery(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path, nats_process: NatsProcess
) -> None:
    """Between the end of a batch and its delivery."""
    batch_id = await end_batch(**BATCH)
    await nats_process.lose_store()
    async with serve(handlers=mine(books, "Sync")):
        await until(in_state("delivered", batch_id, sink="mine"))


@on_sqlite
async def test_a_batch_chooses_its_sinks(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState, books: Path
) -> None:
    both = {"lines": 3, "sinks": ("mine", "webhook")}
    async with serve(handlers=mine(books, "Sync", "webhook")):
        one = await end_batch(**both, metadata={"sinks": "audit, webhook"})
        none = await end_batch(**both, metadata={"sinks": ""})
        every = await end_batch(**both, metadata={"other": "x"})
        await until(in_state("delivered", one, every))
        await until(in_state("delivered", every, sink="mine"))
        await until(in_state("skipped", one, none, sink="mine"))
        await until(in_state("skipped", none))
    assert len(receiver.posts) == 2


@on_sqlite
async def test_a_batch_whose_row_is_gone_is_a_clear_error(
    serve: Serve, database: Database, end_batch: EndBatch, find_row: FindRow, books: Path
) -> None:
    batch_id = await end_batch(**BATCH)
    async with database.write("in a test") as conn:
        await conn.execute(batches.delete())
        await conn.execute(update(deliveries).values(attempts=0))

    async def said() -> bool:
        return "no batch" in ((await find_row(batch_id, "mine")).last_error or "")

    async with serve(handlers=mine(books, "Sync")):
        await until(said)


@on_sqlite
async def test_how_long_deliveries_take_is_measured(
    serve: Serve, end_batch: EndBatch, in_state: InState, books: Path
) -> None:
    name, labels = "vllm_batch_sinks_delivery_seconds_count", {"sink": "mine"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    async with serve(handlers=mine(books, "Sync")):
        batch_id = await end_batch(**BATCH)
        await until(in_state("delivered", batch_id, sink="mine"))
    assert REGISTRY.get_sample_value(name, labels) == before + 1
