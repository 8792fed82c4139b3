"""Chunks without a bus."""

from collections.abc import Callable
from typing import Any

import numpy as np

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.config import Runner
from batch_common.events import ChunkReady
from batch_common.formats.plan import RECORD
from batch_gpu_runner.chunk import Chunk, Lines
from batch_gpu_runner.rates import Rates
from batch_gpu_runner.response_format import ResponseFormat
from batch_gpu_runner.segments import Counted, SegmentWriter

BATCH = "batch_1"


def make_ready(
    lines: int, *, first_line: int = 0, chunk: str = "chunk_1", **changes: Any
) -> ChunkReady:
    fields: dict[str, Any] = {
        "chunk": chunk,
        "generation": 1,
        "batch_id": BATCH,
        "model": "sim",
        "endpoint": "/v1/chat/completions",
        "input_key": keys.plan_input(BATCH),
        "index_key": keys.plan_index(BATCH),
        "first_line": first_line,
        "end_line": first_line + lines,
        "first_byte": 0,
        "end_byte": 0,
        "prefix": keys.chunk_prefix(BATCH, chunk),
        "deadline": 0,
    }
    return ChunkReady(**{**fields, **changes})


def make_chunk(
    blobs: BlobStore,
    ready: ChunkReady,
    *,
    has: bytes = b"",
    settings: Runner | None = None,
    attempt: str = "att_1",
    on_sent: Callable[[], None] = lambda: None,
    form: ResponseFormat | None = None,
) -> Chunk:
    """Line n has the custom id `r<n>` and the body {"n":n}, n counted within the chunk."""
    count = ready.end_line - ready.first_line
    lines = [b'{"custom_id":"r%d","body":{"n":%d}}\n' % (at, at) for at in range(count)]
    index = np.zeros(count, dtype=RECORD)
    index["length"] = [len(line) for line in lines]
    index["line"] = np.arange(ready.first_line + 1, ready.end_line + 1)
    segments = SegmentWriter(
        blobs, ready, attempt, settings or Runner(), Counted(has.count(1)), lambda: None
    )
    data = Lines(ready, b"".join(lines), index, form)
    return Chunk(ready, data, bytearray(has or bytes(count)), segments, Rates(), on_sent)
