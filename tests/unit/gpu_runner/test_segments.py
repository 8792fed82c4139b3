"""Saving results: flushes, the store's faults, and merging attempts."""

import asyncio

import pytest

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.config import Runner
from batch_common.errors import BlobUnavailableError
from batch_common.formats.manifest import decode_manifest
from batch_common.formats.segment import Record, Segment, decode_segment, encode_segment
from batch_common.formats.usage import Usage
from batch_gpu_runner import segments as segments_module
from batch_gpu_runner.finish import Finished, write_results
from batch_gpu_runner.load import find_earlier
from batch_gpu_runner.segments import Counted, SegmentWriter
from support.chunks import make_ready
from support.wait import until


def record(line: int, text: bytes = b"{}", *, succeeded: bool = True) -> Record:
    return Record(line, succeeded, text, Usage(1, 0, 2, 0))


def writer(blobs: BlobStore, **settings: float) -> SegmentWriter:
    changes = {"flush_s": 60.0, "flush_results": 1000, **settings}
    return SegmentWriter(
        blobs, make_ready(100), "att_1", Runner(**changes), Counted(), lambda: None
    )


async def closed(saving: SegmentWriter, running: asyncio.Task[None]) -> None:
    saving.close()
    async with asyncio.timeout(5):
        await running


async def test_nothing_counts_before_it_is_durable(blobs: BlobStore) -> None:
    saving = writer(blobs)
    running = asyncio.create_task(saving.run())
    saving.add(record(0))
    saving.add(record(1, succeeded=False))
    await asyncio.sleep(0)
    assert saving.saved == Counted()
    await closed(saving, running)
    assert saving.saved == Counted(completed=1, failed=1)
    found = decode_segment(await blobs.get(saving.keys[0]))
    assert [each.line for each in found.records] == [0, 1]


@pytest.mark.parametrize("settings", [{"flush_results": 3}, {"flush_bytes": 6}, {"flush_s": 0.01}])
async def test_each_limit_flushes(blobs: BlobStore, settings: dict[str, float]) -> None:
    saving = writer(blobs, **settings)
    running = asyncio.create_task(saving.run())
    for line in range(3):
        saving.add(record(line))
    await until(lambda: saving.saved.completed == 3, what="a flush")
    await closed(saving, running)


async def test_closing_without_results_writes_nothing(blobs: BlobStore) -> None:
    saving = writer(blobs)
    running = asyncio.create_task(saving.run())
    await closed(saving, running)
    assert saving.keys == []
    assert await blobs.list(make_ready(1).prefix) == []


async def test_a_store_that_fails_for_a_while_loses_nothing(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, faults = blobs.put, iter([True, True])

    async def failing(key: str, data: bytes) -> int:
        if next(faults, False):
            raise BlobUnavailableError("the store is away")
        return await put(key, data)

    monkeypatch.setattr(blobs, "put", failing)
    monkeypatch.setattr(segments_module, "_FIRST_PAUSE_S", 0.01)
    saving = writer(blobs)
    running = asyncio.create_task(saving.run())
    saving.add(record(0))
    await closed(saving, running)
    assert next(faults, None) is None, "both faults happened"
    assert saving.saved == Counted(1, 0)


async def put_segment(blobs: BlobStore, attempt: str, number: int, *records: Record) -> str:
    ready = make_ready(4)
    key = keys.segment(ready.prefix, attempt, number)
    await blobs.put(key, encode_segment(Segment(ready.chunk, attempt, list(records))))
    return key


async def test_the_first_result_of_a_line_wins_over_all_attempts(blobs: BlobStore) -> None:
    ready = make_ready(4)
    late = await put_segment(blobs, "att_2", 1, record(1, b'"late"', succeeded=False), record(2))
    early = await put_segment(blobs, "att_1", 1, record(0), record(1, b'"early"'))
    await blobs.put(keys.segment(ready.prefix, "att_3", 1), b"not a segment")
    await blobs.put(keys.chunk_output(ready.prefix, "att_1"), b"of no interest\n")
    earlier = await find_earlier(blobs, ready)
    assert earlier.keys == (early, late)
    assert bytes(earlier.has) == bytes([1, 1, 1, 0])
    assert earlier.counted == Counted(completed=3, failed=0)
    own = await put_segment(blobs, "att_4", 1, record(3, b'"bad"', succeeded=False))
    finished = Finished(ready, "att_4", (*earlier.keys, own), Counted(3, 1), None)
    manifest = decode_manifest(await blobs.get(await write_results(blobs, finished)))
    assert (manifest.completed, manifest.failed, manifest.usage) == (3, 1, Usage(4, 0, 8, 0))
    assert manifest.output is not None
    assert manifest.errors is not None
    assert await blobs.get(manifest.output.key) == b'{}\n"early"\n{}\n'
    assert await blobs.get(manifest.errors.key) == b'"bad"\n'


async def test_finishing_twice_gives_the_same(blobs: BlobStore) -> None:
    """The process died between manifest and message: the next attempt writes its own."""
    ready = make_ready(1)
    own = await put_segment(blobs, "att_1", 1, record(0))
    finished = Finished(ready, "att_1", (own,), Counted(1, 0), None)
    first = await blobs.get(await write_results(blobs, finished))
    assert await blobs.get(await write_results(blobs, finished)) == first
