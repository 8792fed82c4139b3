"""Results in any segments of any attempts, some torn or lost: each line once in the manifest."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batch_common import keys
from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Blobs
from batch_common.formats.manifest import ObjectRef, decode_manifest
from batch_common.formats.segment import Record, Segment, encode_segment
from batch_common.formats.usage import Usage
from batch_gpu_runner.finish import Finished, write_results
from batch_gpu_runner.load import find_earlier
from batch_gpu_runner.segments import Counted
from support.chunks import make_ready
from support.examples import examples

LINES = 8
FIRST = 100
READY = make_ready(LINES, first_line=FIRST)
# Lines outside the chunk are nobody's; a line may be answered in one way here and another there.
RESULTS = st.lists(st.tuples(st.integers(-1, LINES), st.booleans()), max_size=6)
FATES = st.sampled_from(["whole", "whole", "whole", "torn", "empty", "lost"])
ATTEMPTS = st.lists(st.lists(st.tuples(RESULTS, FATES), max_size=4), max_size=4)


@given(ATTEMPTS, st.lists(st.integers(1, 4), min_size=1, max_size=LINES))
@examples(40)
def test_each_line_is_in_the_manifest_once(
    attempts: list[list[tuple[list[tuple[int, bool]], str]]], sizes: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_resumed(open_blobs(Blobs(), Path(folder)), attempts, sizes))


async def _resumed(blobs: BlobStore, attempts: list, sizes: list[int]) -> None:
    for number, segments in enumerate(attempts):
        for at, (results, fate) in enumerate(segments, 1):
            await _leave(blobs, f"att_{number}", at, results, fate)
    earlier = await find_earlier(blobs, READY)
    assert {at for at, done in enumerate(earlier.has) if done} == _saved(attempts)
    assert earlier.counted.completed + earlier.counted.failed == sum(earlier.has)
    own, added = await _finish_rest(blobs, earlier.has, sizes)
    counted = Counted(earlier.counted.completed + added, earlier.counted.failed)
    finished = Finished(READY, "att_9", (*earlier.keys, *own), counted, None)
    manifest = decode_manifest(await blobs.get(await write_results(blobs, finished)))
    assert (manifest.completed, manifest.failed) == (counted.completed, counted.failed)
    good, bad = await _lines(blobs, manifest.output), await _lines(blobs, manifest.errors)
    assert sorted(good + bad) == list(range(FIRST, FIRST + LINES))
    assert (len(good), len(bad)) == (manifest.completed, manifest.failed)
    assert manifest.usage == Usage(LINES, 0, 2 * LINES, 0)
    assert manifest.segments == finished.segments
    # Whoever comes after finds nothing left to do.
    assert all((await find_earlier(blobs, READY)).has)


def _saved(attempts: list) -> set[int]:
    """Lines with a result that can be read: none of them is computed again."""
    whole = [results for segments in attempts for results, fate in segments if fate == "whole"]
    return {line for results in whole for line, _ in results if 0 <= line < LINES}


async def _leave(blobs: BlobStore, attempt: str, number: int, results: list, fate: str) -> None:
    """A segment that an attempt wrote, and what became of it."""
    records = [_record(FIRST + line, succeeded=good) for line, good in results]
    data = encode_segment(Segment(READY.chunk, attempt, records))
    match fate:
        case "torn":
            data = data[: len(data) // 2]
        case "empty":
            data = b""
        case "lost":
            return
    await blobs.put(keys.segment(READY.prefix, attempt, number), data)


async def _finish_rest(blobs: BlobStore, has: bytearray, sizes: list[int]) -> tuple[list[str], int]:
    """The last attempt does what is missing, in segments of these sizes."""
    left = [FIRST + at for at, done in enumerate(has) if not done]
    total, own = len(left), []
    while left:
        size = sizes[len(own) % len(sizes)]
        now, left = left[:size], left[size:]
        key = keys.segment(READY.prefix, "att_9", len(own) + 1)
        records = [_record(line, succeeded=True) for line in now]
        await blobs.put(key, encode_segment(Segment(READY.chunk, "att_9", records)))
        own.append(key)
    return own, total


def _record(line: int, *, succeeded: bool) -> Record:
    return Record(line, succeeded, b"%d" % line, Usage(1, 0, 2, 0))


async def _lines(blobs: BlobStore, ref: ObjectRef | None) -> list[int]:
    if ref is None:
        return []
    found = [int(line) for line in (await blobs.get(ref.key)).splitlines()]
    assert len(found) == ref.lines
    return found
