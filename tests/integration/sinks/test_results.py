"""The stream of results: again and again, from the middle, across threads, in bounded memory."""

import asyncio

import pytest

from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_sinks.ended import EndedBatches
from batch_sinks.results import CallEndedError, Results
from support.finished import Finished, finish

from .conftest import on_sqlite

pytestmark = on_sqlite


async def made(database: Database, blobs: BlobStore, **wanted: object) -> Results:
    batch_id = await finish(database, blobs, Finished(**wanted))  # type: ignore[arg-type]
    return await (await EndedBatches(database, blobs).find(batch_id)).results()


async def ids(results: Results) -> list[str]:
    return [result["custom_id"] async for result in results]


async def test_every_way_of_reading_gives_the_same_order(
    database: Database, blobs: BlobStore
) -> None:
    results = await made(database, blobs, lines=250, chunk_lines=30, fails=7)
    first = await ids(results)
    assert sorted(first) == sorted(f"r{line}" for line in range(1, 251))
    assert await ids(results) == first
    assert await asyncio.to_thread(lambda: [r["custom_id"] for r in results]) == first
    for skipped in (0, 1, 29, 30, 31, 249, 250, 999):
        assert await ids(results.skip(skipped)) == first[skipped:]
    assert await ids(results.skip(20).skip(30)) == first[50:]


async def test_lines_longer_than_a_piece_come_whole(database: Database, blobs: BlobStore) -> None:
    results = await made(database, blobs, lines=5, answer=1_700_000)
    answers = [r["response"]["body"]["choices"][0]["message"]["content"] async for r in results]
    assert [len(answer) for answer in answers] == [1_700_000] * 5


async def test_a_reader_may_stop_in_the_middle(database: Database, blobs: BlobStore) -> None:
    results = await made(database, blobs, lines=50)

    def first() -> str:
        return next(iter(results))["custom_id"]

    assert await asyncio.to_thread(first) == await asyncio.to_thread(first)


async def test_the_files_bytes_are_those_of_the_download(
    database: Database, blobs: BlobStore
) -> None:
    results = await made(database, blobs, lines=100, chunk_lines=30, fails=10)
    output = b"".join([piece async for piece in results.output])
    errors = b"".join([piece async for piece in results.errors])
    assert (len(output), len(errors)) == (results.output.bytes, results.errors.bytes)
    assert (output.count(b"\n"), errors.count(b"\n")) == (90, 10)


async def test_for_in_a_coroutine_says_what_to_write(database: Database, blobs: BlobStore) -> None:
    results = await made(database, blobs, lines=1)
    with pytest.raises(TypeError, match="async for"):
        list(results)


async def test_an_ended_call_can_read_no_further(database: Database, blobs: BlobStore) -> None:
    """A thread cannot be killed; one that goes on reading is stopped at its next step."""
    results = await made(database, blobs, lines=100)
    later = results.skip(1)
    results.end()
    for reading in (results, later):
        with pytest.raises(CallEndedError):
            await ids(reading)
    with pytest.raises(CallEndedError):
        async for _ in results.output:
            pass
