"""Finishing a chunk: one output and one error object out of its segments, manifest, event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.clock import now
from batch_common.cloudevents import headers
from batch_common.errors import BlobStoreFullError, TransientError
from batch_common.events import ChunkCompleted, ChunkReady, encode
from batch_common.formats.manifest import Manifest, ObjectRef, encode_manifest
from batch_common.formats.segment import Record
from batch_common.formats.usage import Usage, total
from batch_common.logs import get_log
from batch_common.subjects import CHUNK_COMPLETED
from batch_gpu_runner.segments import Counted, Merge, read_segment

log = get_log(__name__)

_LONGEST_PAUSE_S: Final = 10.0

Made = TypeVar("Made")


class Finished(msgspec.Struct, frozen=True):
    """An attempt that has a durable result for every line.

    segments: of all attempts, in the order in which results count
    counted: how many of each kind they hold
    trace: the traceparent that the chunk came with
    """

    ready: ChunkReady
    attempt: str
    segments: tuple[str, ...]
    counted: Counted
    trace: str | None


async def complete(bus: Bus, blobs: BlobStore, finished: Finished) -> None:
    """Returns once the stream has the completion.

    Tries for ever when blob store or NATS are away: the results are worth it. Raises
    BlobNotFoundError when the segments were swept, since the chunk was settled without us.
    """
    manifest_key = await _persistently(lambda: write_results(blobs, finished))
    await _persistently(lambda: _publish(bus, finished, manifest_key))


async def write_results(blobs: BlobStore, finished: Finished) -> str:
    """The manifest's key. One segment is in memory at a time; doing it again changes nothing."""
    prefix, attempt = finished.ready.prefix, finished.attempt
    output = _Results(blobs, finished, succeeded=True)
    errors = _Results(blobs, finished, succeeded=False)
    counted = finished.counted
    manifest = Manifest(
        chunk=finished.ready.chunk,
        attempt=attempt,
        segments=finished.segments,
        output=await output.write(keys.chunk_output(prefix, attempt), counted.completed),
        errors=await errors.write(keys.chunk_errors(prefix, attempt), counted.failed),
        completed=output.lines,
        failed=errors.lines,
        usage=output.usage + errors.usage,
    )
    key = keys.chunk_manifest(prefix, attempt)
    await blobs.put(key, encode_manifest(manifest))
    return key


async def _publish(bus: Bus, finished: Finished, manifest_key: str) -> None:
    ready, attempt = finished.ready, finished.attempt
    event = ChunkCompleted(
        chunk=ready.chunk, generation=ready.generation, attempt=attempt, manifest_key=manifest_key
    )
    name = f"{ready.chunk}:{attempt}"
    about = headers(name, event.type, "runner", now(), finished.trace)
    await bus.publish(CHUNK_COMPLETED, encode(event), name, about)


async def _persistently(work: Callable[[], Awaitable[Made]]) -> Made:
    pause_s = 1.0
    while True:
        try:
            return await work()
        except (TransientError, BlobStoreFullError) as error:
            log.warning("finish_failed", error=str(error), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class _Results:
    """The results of one kind, read through once."""

    def __init__(self, blobs: BlobStore, finished: Finished, *, succeeded: bool) -> None:
        self.lines = 0
        self.usage = Usage()
        self._blobs = blobs
        self._finished = finished
        self._succeeded = succeeded

    async def write(self, key: str, expected: int) -> ObjectRef | None:
        """None when no line is expected: there are no empty objects."""
        if not expected:
            return None
        size = await self._blobs.put(key, self._pieces())
        return ObjectRef(key, size, self.lines)

    async def _pieces(self) -> AsyncIterator[bytes]:
        merge = Merge(self._finished.ready)
        for key in self._finished.segments:
            winners = merge.winners(await read_segment(self._blobs, key))
            if wanted := [record for record in winners if record.succeeded is self._succeeded]:
                yield self._piece(wanted)

    def _piece(self, records: list[Record]) -> bytes:
        self.lines += len(records)
        self.usage += total(record.usage for record in records if record.usage)
        return b"".join([record.data + b"\n" for record in records])
