"""The queries on both databases we promise."""

import asyncio

import msgspec
import pytest
from sqlalchemy import select, update

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.formats.content import Part
from batch_common.state import BatchStatus
from batch_common.tables import batches, files, models, outbox
from batch_gateway.batch_request import BatchRequest
from batch_gateway.batch_store import BatchStore
from batch_gateway.errors import ApiError
from batch_gateway.file_store import Draft, FileStore, publish_file
from batch_gateway.models import ModelStore
from batch_gateway.results import committed_parts
from batch_gateway.upload_store import Declared, UploadStore
from batch_gateway.upload_sweep import UploadSweep
from support.gateway import CHAT, add_chunk, commit_chunk, set_batch, start_batch

WANTED = BatchRequest(
    input_file_id="file-x",
    endpoint=CHAT,
    completion_window="24h",
    window_s=86_400,
    metadata={"ключ": "значение \U0001f600"},
    output_expires_after_s=3600,
)
DRAFT = Draft(purpose="batch", filename="a.jsonl", bytes=3, expires_at=None)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


async def make_file(store: FileStore, file_id: str, tenant: str = "a") -> None:
    await store.begin(file_id, tenant, clock.timestamp())
    await store.publish(file_id, DRAFT)


async def test_a_begun_file_is_hidden_until_it_is_published(
    database: Database, blobs: BlobStore
) -> None:
    store = FileStore(database, blobs)
    key = await store.begin("file-1", "a", 5)
    await blobs.put(key, b"abc")
    assert await store.find("a", "file-1") is None
    file = await store.publish("file-1", DRAFT)
    assert (file.created_at, file.bytes, file.expires_at) == (5, 3, None)
    assert await store.find("a", "file-1") == file
    assert await store.find("b", "file-1") is None
    assert [(part.key, part.bytes) for part in await store.parts("a", "file-1")] == [(key, 3)]


@pytest.mark.parametrize("count", [0, 10, 11, 10_000])
async def test_a_list_shows_few_of_many_errors(database: Database, count: int) -> None:
    store = BatchStore(database)
    batch = await store.create("a", WANTED, TRACE)
    plain = await store.create("a", WANTED, TRACE)
    errors = [
        {"code": "c", "message": f"Zeile „{n}“", "param": "body", "line": n} for n in range(count)
    ]
    await set_batch(database, batch.id, status="failed", errors=errors)
    whole = (await store.find("a", batch.id)).errors
    assert whole is not None
    assert [error.line for error in whole.data] == list(range(count))
    first, second = (await store.page("a", after=None, limit=2)).data
    assert first == plain
    assert second.errors is not None
    assert second.errors.data[:10] == whole.data[:10]
    assert [error.code for error in second.errors.data[10:]] == ["more_errors"] * (count > 10)


async def test_discarding_spares_what_was_published(database: Database, blobs: BlobStore) -> None:
    """The answer to a publish may be lost although it was committed."""
    store = FileStore(database, blobs)
    for file_id in ("file-1", "file-2"):
        await blobs.put(await store.begin(file_id, "a", 5), b"abc")
    await store.publish("file-1", DRAFT)
    for file_id in ("file-1", "file-2", "file-3"):
        await store.discard(file_id)
    assert await blobs.get("files/file-1") == b"abc"
    async with database.read() as conn:
        assert [row.id for row in await conn.execute(select(files.c.id))] == ["file-1"]
    assert [blob.key for blob in await blobs.list("files/")] == ["files/file-1"]


async def test_discarding_waits_for_a_publish_that_is_being_committed(
    database: Database, blobs: BlobStore
) -> None:
    """Race: the connection broke in mid-commit, and the server commits all the same."""
    store = FileStore(database, blobs)
    await blobs.put(await store.begin("file-1", "a", 5), b"abc")
    async with database.write("in a test") as conn:
        await publish_file(conn, "file-1", DRAFT)
        discarding = asyncio.create_task(store.discard("file-1"))
        await asyncio.wait({discarding}, timeout=0.3)
    await discarding
    assert await store.find("a", "file-1") is not None
    assert await blobs.get("files/file-1") == b"abc"


async def test_a_file_that_was_swept_is_not_brought_back(
    database: Database, blobs: BlobStore
) -> None:
    store = FileStore(database, blobs)
    await store.begin("file-1", "a", 5)
    async with database.write("in a test") as conn:
        await conn.execute(update(files).values(purged_at=6))
    with pytest.raises(LookupError):
        await store.publish("file-1", DRAFT)


async def test_pages_of_files(database: Database, blobs: BlobStore) -> None:
    store = FileStore(database, blobs)
    for number in range(5):
        await make_file(store, f"file-{number}")
    await make_file(store, "file-other", "b")
    assert await store.delete("a", "file-2")
    assert not await store.delete("a", "file-2")
    assert not await store.delete("b", "file-1")
    page = await store.page("a", None, after=None, limit=2, newest_first=True)
    assert ([file.id for file in page.data], page.has_more) == (["file-4", "file-3"], True)
    page = await store.page("a", "batch", after="file-3", limit=2, newest_first=True)
    assert ([file.id for file in page.data], page.has_more) == (["file-1", "file-0"], False)
    page = await store.page("a", "batch", after="file-1", limit=2, newest_first=False)
    assert [file.id for file in page.data] == ["file-3", "file-4"]
    with pytest.raises(ApiError, match="Resource not found"):
        await store.page("a", None, after="file-other", limit=2, newest_first=True)


async def test_a_batch_and_its_event_are_one_transaction(database: Database) -> None:
    store = BatchStore(database)
    batch = await store.create("a", WANTED, TRACE)
    assert batch.metadata == WANTED.metadata
    assert await store.find("a", batch.id) == batch
    async with database.read() as conn:
        event = (await conn.execute(select(outbox))).one()
        row = (await conn.execute(select(batches))).one()
    assert (event.subject, event.headers["traceparent"]) == ("batch.submitted", TRACE)
    assert (row.output_expires_after_s, row.traceparent) == (3600, TRACE)
    with pytest.raises(ApiError, match="No batch found"):
        await store.find("b", batch.id)


async def test_null_metadata_stays_null(database: Database) -> None:
    store = BatchStore(database)
    wanted = msgspec.structs.replace(WANTED, metadata=None)
    batch = await store.create("a", wanted, TRACE)
    assert (await store.find("a", batch.id)).metadata is None


async def test_counts_of_a_page_come_from_the_chunks(database: Database) -> None:
    store = BatchStore(database)
    made = [await store.create("a", WANTED, TRACE) for _ in range(3)]
    for batch in made[:2]:
        await start_batch(database, batch.id, total=50)
    await add_chunk(database, made[0].id, completed=3, failed=1)
    await add_chunk(database, made[0].id, completed=20, failed=2)
    page = await store.page("a", after=None, limit=10)
    counts = [(batch.request_counts.completed, batch.request_counts.failed) for batch in page.data]
    assert counts == [(0, 0), (0, 0), (23, 3)]
    assert {batch.id for batch in await store.current([made[0].id, made[2].id])} == {
        made[0].id,
        made[2].id,
    }


async def test_many_cancellations_at_once_are_one(database: Database) -> None:
    """Two clients cancel in the same instant: one move, one event."""
    store = BatchStore(database)
    batch = await store.create("a", WANTED, TRACE)
    found = await asyncio.gather(*(store.cancel("a", batch.id) for _ in range(8)))
    assert {result.status for result in found} == {BatchStatus.CANCELLING}
    async with database.read() as conn:
        subjects = [row.subject for row in await conn.execute(select(outbox.c.subject))]
    assert sorted(subjects) == ["batch.cancelling", "batch.submitted"]
    with pytest.raises(ApiError, match="No batch found"):
        await store.cancel("b", batch.id)


async def test_results_in_commit_order(database: Database, blobs: BlobStore) -> None:
    batch = await BatchStore(database).create("a", WANTED, TRACE)
    await commit_chunk(database, blobs, batch.id, 2, b"2\n", b"2e\n")
    await commit_chunk(database, blobs, batch.id, 1, errors=b"1e\n")
    await add_chunk(database, batch.id)
    parts = await committed_parts(database, batch.id)
    assert [await blobs.get(part.key) for part in parts] == [b"1e\n", b"2\n", b"2e\n"]


async def test_an_upload_ends_once(database: Database, blobs: BlobStore) -> None:
    """Completion, cancellation and a late part at the same moment."""
    store, file_store = UploadStore(database), FileStore(database, blobs)
    declared = Declared(bytes=3, filename="a", mime_type="b", purpose="evals", expires_after_s=None)
    upload = await store.create("a", declared)
    await store.add_part("a", upload.id, "part_1", Part("k", 3))
    await file_store.begin("file-1", "a", 5)
    ends = await asyncio.gather(
        store.complete("a", upload.id, "file-1", DRAFT),
        store.cancel("a", upload.id),
        store.cancel("a", upload.id),
        return_exceptions=True,
    )
    assert sum(not isinstance(end, BaseException) for end in ends) == 1
    assert sum(isinstance(end, ApiError) for end in ends) == 2
    with pytest.raises(ApiError, match=f"Upload {upload.id} is"):
        await store.add_part("a", upload.id, "part_2", Part("k", 3))
    with pytest.raises(ApiError, match="No such Upload"):
        await store.pending("b", upload.id)
    await UploadSweep(database, blobs).sweep_page()
    with pytest.raises(ApiError, match="is c"):
        await store.pending("a", upload.id)


async def test_models_are_the_configured_and_the_announced(database: Database) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(models.insert().values(name="org/b", first_seen=7, last_seen=9))
    found = await ModelStore(database, {"a", "org/b"}, since=3).list()
    assert [(model.id, model.created) for model in found] == [("a", 3), ("org/b", 7)]
