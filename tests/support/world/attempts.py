"""An attempt at a chunk, as data: it works when told to, and long after it should."""

import msgspec

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.events import ChunkReady, decode
from batch_common.formats.segment import Record, Segment, encode_segment
from batch_common.ids import new_id
from batch_gpu_runner.finish import Finished, complete
from batch_gpu_runner.load import Earlier, find_earlier
from batch_gpu_runner.segments import Counted
from support.fake_runner import FakeRunner
from support.world.streams import Message, Streams


class Attempt:
    """Reads, resumes and finishes by the runner's own code; only the engine is not there."""

    def __init__(self, streams: Streams, blobs: BlobStore, message: Message) -> None:
        self.message = message
        self.ready = decode(message.body, ChunkReady)
        self.name = new_id("att_")
        self.answer: str | None = None
        self.counted = Counted()
        self._streams = streams
        self._blobs = blobs
        self._earlier: Earlier | None = None
        self._keys: list[str] = []
        self._left: list[Record] = []

    @property
    def has_begun(self) -> bool:
        return self._earlier is not None

    @property
    def is_done(self) -> bool:
        return self.has_begun and not self._left

    async def begin(self) -> None:
        """Raises BlobNotFoundError when the chunk was settled long ago."""
        self._earlier = await find_earlier(self._blobs, self.ready)
        self.counted = self._earlier.counted
        every = await FakeRunner(self._streams, self._blobs).results(self.ready)  # type: ignore[arg-type]
        first = self.ready.first_line
        self._left = [self._mine(r) for r in every if not self._earlier.has[r.line - first]]

    def _mine(self, record: Record) -> Record:
        """Marked, so that what two attempts say of one line differs."""
        return msgspec.structs.replace(record, data=record.data.replace(b"req_1", self._mark))

    @property
    def _mark(self) -> bytes:
        return b"req_" + self.name.encode()

    async def save(self, count: int) -> None:
        """The next results, as one segment."""
        now, self._left = self._left[:count], self._left[count:]
        key = keys.segment(self.ready.prefix, self.name, len(self._keys) + 1)
        segment = Segment(self.ready.chunk, self.name, now)
        await self._blobs.put(key, encode_segment(segment))
        self._keys.append(key)
        good = sum(record.succeeded for record in now)
        self.counted = Counted(self.counted.completed + good, self.counted.failed + len(now) - good)

    async def finish(self) -> None:
        """Manifest, completion, ack: in this order."""
        assert self._earlier is not None
        segments = (*self._earlier.keys, *self._keys)
        finished = Finished(self.ready, self.name, segments, self.counted, None)
        try:
            await complete(self._streams, self._blobs, finished)  # type: ignore[arg-type]
        except BlobNotFoundError:
            return  # swept: another attempt's results are final
        self._streams.ack(self.message)
