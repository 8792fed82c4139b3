"""What a chunk gives out, and which results it takes."""

import numpy as np
import pytest

from batch_common.blobs import BlobStore
from batch_common.config import Runner
from batch_common.formats.plan import RECORD
from batch_gpu_runner.chunk import Ending, Lines, PlanDamagedError
from batch_gpu_runner.engines.base import EngineAnswer
from batch_gpu_runner.feed import Feed
from batch_gpu_runner.request import Policy, Result, decide, failed
from support.chunks import make_chunk, make_ready


def answered() -> Result:
    result = decide(EngineAnswer(200, b'{"id":"a"}'), 1, Policy(1))
    assert isinstance(result, Result)
    return result


async def test_lines_come_once_and_in_order(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(3))
    taken = [chunk.take() for _ in range(4)]
    assert [each and each.custom_id for each in taken] == ["r0", "r1", "r2", None]
    assert taken[1] is not None
    assert taken[1].body == b'{"n":1}'


async def test_lines_with_a_saved_result_are_skipped(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(4), has=bytes([1, 0, 1, 0]))
    assert [each.custom_id for each in iter(chunk.take, None)] == ["r1", "r3"]


async def test_a_chunk_that_is_all_saved_is_finished(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(2), has=bytes([1, 1]))
    assert await chunk.ended is Ending.FINISHED


async def test_the_last_result_finishes_it(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(2))
    one, two = chunk.take(), chunk.take()
    assert one is not None
    assert two is not None
    chunk.add(one, answered())
    chunk.add(one, failed("engine_error", "the first result of a line counts"))
    assert not chunk.ended.done()
    chunk.add(two, answered())
    assert await chunk.ended is Ending.FINISHED


async def test_nothing_counts_after_it_was_let_go(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(1))
    request = chunk.take()
    assert request is not None
    chunk.closed = True
    chunk.add(request, answered())
    assert not chunk.ended.done()


async def test_a_slow_store_stops_the_feeding(blobs: BlobStore) -> None:
    """Memory is bounded by configuration, however fast the engine is."""
    chunk = make_chunk(blobs, make_ready(10), settings=Runner(flush_bytes=1))
    request = chunk.take()
    assert request is not None
    chunk.add(request, answered())
    assert chunk.take() is None


async def test_loss_is_remembered_after_the_end(blobs: BlobStore) -> None:
    """Suspended while finishing: the results stand, but the message is not ours to settle."""
    chunk = make_chunk(blobs, make_ready(1))
    chunk.end(Ending.FINISHED)
    chunk.end(Ending.LOST)
    assert (await chunk.ended, chunk.lost) == (Ending.FINISHED, True)


async def test_an_index_that_does_not_fit_is_refused(blobs: BlobStore) -> None:
    index = np.zeros(2, dtype=RECORD)
    index["length"] = [3, 3]
    with pytest.raises(PlanDamagedError, match="do not fit"):
        Lines(make_ready(2), b"12345", index)


async def test_models_take_turns_and_chunks_keep_their_order(blobs: BlobStore) -> None:
    feed = Feed()
    first = make_chunk(blobs, make_ready(3, chunk="first"))
    second = make_chunk(blobs, make_ready(2, chunk="second"))
    other = make_chunk(blobs, make_ready(2, chunk="other", model="b"))
    for chunk in (first, second, other):
        feed.add(chunk)
    taken = [each.chunk.ready.chunk for each in iter(feed.take, None)]
    assert taken == ["first", "other", "first", "other", "first", "second", "second"]


async def test_a_retry_comes_when_it_is_due_and_not_after_its_chunk(blobs: BlobStore) -> None:
    feed = Feed()
    chunk = make_chunk(blobs, make_ready(2))
    feed.add(chunk)
    one, two = feed.take(), feed.take()
    assert one is not None
    assert two is not None
    feed.later(one, due=20.0)
    feed.later(two, due=10.0)
    assert feed.take_due(9.0) is None
    assert feed.take_due(30.0) is two
    feed.drop(chunk)
    assert feed.take_due(30.0) is None


async def test_it_says_once_that_every_line_was_sent(blobs: BlobStore) -> None:
    """The next chunk is let in then: the last answers of this one may take minutes."""
    said: list[str] = []
    chunk = make_chunk(blobs, make_ready(2), on_sent=lambda: said.append("sent"))
    for expected in ([], [], ["sent"], ["sent"]):
        chunk.take()
        assert said == expected
