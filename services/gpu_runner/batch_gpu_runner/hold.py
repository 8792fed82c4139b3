"""The life of one chunk here: delivered, claimed, loaded, worked on, let go."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.cloudevents import TRACE
from batch_common.config import Runner
from batch_common.errors import BatchServerError, BusUnavailableError
from batch_common.events import ChunkReady
from batch_common.ids import new_id
from batch_common.logs import bind_ids, get_log
from batch_common.pull import Again, Delivery, Done, Outcome
from batch_common.tasks import Tasks
from batch_gpu_runner import metrics
from batch_gpu_runner.chunk import Chunk, Ending, PlanDamagedError
from batch_gpu_runner.claim import Claim
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.finish import Finished, complete
from batch_gpu_runner.keep_alive import KeepAlive
from batch_gpu_runner.load import Earlier, find_earlier, load_lines, sent_in_vain
from batch_gpu_runner.rates import Rates
from batch_gpu_runner.request import ENDPOINT_UNSUPPORTED, failed
from batch_gpu_runner.segments import Counted, SegmentWriter
from batch_gpu_runner.window import Window

log = get_log(__name__)

_BUSY_S: Final = 2.0
_TROUBLE_S: Final = 5.0
_DAMAGED_S: Final = 60.0
_SETTLE_TRIES: Final = 5
_SETTLE_PAUSE_S: Final = 1.0
_ROOM_S: Final = 0.02


class Bench(msgspec.Struct, frozen=True):
    """What every held chunk is worked on with.

    stop: set when something dies; leaving: set when the runner takes no more work
    """

    bus: Bus
    blobs: BlobStore
    engine: Engine
    window: Window
    settings: Runner
    runner: str
    stop: asyncio.Event
    leaving: asyncio.Event


class Hold:
    """One delivery of one chunk, from our receiving it to our settling it."""

    def __init__(
        self,
        bench: Bench,
        delivery: Delivery,
        ready: ChunkReady,
        rates: Rates,
        on_sent: Callable[[], None],
    ) -> None:
        """`on_sent` is called when every line has been sent once."""
        self.ready = ready
        self._bench = bench
        self._delivery = delivery
        self._rates = rates
        self._on_sent = on_sent
        self._attempt = new_id("att_")
        self._claim = Claim(
            bench.bus, ready, self._attempt, bench.runner, first=delivery.attempt == 1
        )
        self._keep_alive = KeepAlive(delivery, bench.settings.ack_wait_s)
        self._chunk: Chunk | None = None
        self._hands_back = False
        self._began = time.monotonic()

    def drain(self) -> None:
        """Abandon what is in flight, save what is there and hand it back."""
        self._hands_back = True
        self._end(Ending.DRAINED)

    async def run(self) -> None:
        """Returns when the message is settled, or is no longer ours to settle."""
        if self._delivery.attempt > 1:
            metrics.REDELIVERIES.labels(self.ready.model).inc()
        with bind_ids(chunk=self.ready.chunk, attempt=self._attempt):
            async with Tasks(self._bench.stop) as side:
                expired = self._keep_alive.run(lambda: self._end(Ending.LOST))
                side.spawn("keep_alive", expired)
                await self._settle(await self._outcome(side))

    def _end(self, ending: Ending) -> None:
        if self._chunk is not None:
            self._chunk.end(ending)

    async def _outcome(self, side: Tasks) -> Outcome | None:
        """None: nothing is to be settled."""
        if self._hands_back:
            return Again(0)
        try:
            match await self._claim.begin(self._bench.leaving):
                case "go":
                    return await self._work(side)
                case "busy":
                    return Again(_BUSY_S)
                case "stop":
                    return Done()
                case None:
                    return Again(0)
        except BatchServerError as error:
            # Of the blob store, or of the plan; objects also vanish when the chunk was settled
            # meanwhile, and then the next claim says so.
            log.warning("chunk_troubled", error=str(error))
            await self._claim.release(Counted())
            return Again(_DAMAGED_S if isinstance(error, PlanDamagedError) else _TROUBLE_S)

    async def _work(self, side: Tasks) -> Outcome | None:
        earlier = await find_earlier(self._bench.blobs, self.ready)
        chunk = self._chunk = await self._load(earlier)
        saving = side.spawn("segments", chunk.segments.run())
        side.spawn("claims", self._claim.keep(chunk, self._bench.settings.claim_s))
        ending = await self._feed(chunk, earlier)
        chunk.segments.close()
        await saving
        outcome = await self._let_go(chunk, ending, earlier)
        self._tell(chunk, ending)
        return outcome

    async def _load(self, earlier: Earlier) -> Chunk:
        bench, ready = self._bench, self.ready
        lines = await load_lines(bench.blobs, ready)
        resumed = earlier.counted.completed + earlier.counted.failed
        metrics.RESUMED.labels(ready.model).inc(resumed)
        metrics.REDONE.labels(ready.model, "redelivered").inc(sent_in_vain(earlier.has))
        log.info("chunk_taken", batch=ready.batch_id, lines=len(lines), resumed=resumed)
        segments = SegmentWriter(
            bench.blobs, ready, self._attempt, bench.settings, earlier.counted, bench.window.wake
        )
        return Chunk(ready, lines, earlier.has, segments, self._rates, self._on_sent)

    async def _feed(self, chunk: Chunk, earlier: Earlier) -> Ending:
        window = self._bench.window
        try:
            if self._keep_alive.is_expired:  # while it was claimed or loaded
                chunk.end(Ending.LOST)
            elif self._hands_back or self._bench.leaving.is_set():
                chunk.end(Ending.DRAINED)
            elif self._bench.engine.supports(self.ready.endpoint):
                window.add(chunk, earlier.suspects)
            else:
                await self._refuse(chunk)
            return await chunk.ended
        finally:
            window.drop(chunk)

    async def _refuse(self, chunk: Chunk) -> None:
        """The scheduler refuses such batches; one that slipped through ends in clear errors."""
        result = failed(
            ENDPOINT_UNSUPPORTED,
            f"no engine of this runner answers {self.ready.endpoint} for {self.ready.model}",
        )
        while not chunk.ended.done():
            if (request := chunk.take()) is not None:
                chunk.add(request, result)
            else:
                await asyncio.sleep(_ROOM_S)  # until the segments so far are durable

    async def _let_go(self, chunk: Chunk, ending: Ending, earlier: Earlier) -> Outcome | None:
        """Everything is durable by now."""
        saved = chunk.segments.saved
        if ending is Ending.FINISHED:
            segments = (*earlier.keys, *chunk.segments.keys)
            trace = self._delivery.headers.get(TRACE)
            finished = Finished(self.ready, self._attempt, segments, saved, trace)
            await complete(self._bench.bus, self._bench.blobs, finished)
            return Done()
        await self._claim.release(saved)
        match ending:
            case Ending.STOPPED:
                return Done()
            case Ending.DRAINED:
                return Again(0)
            case Ending.DAMAGED:
                return Again(_DAMAGED_S)
        return None

    async def _settle(self, outcome: Outcome | None) -> None:
        """When NATS stays away the message comes back by itself, and its claim is answered stop."""
        for _ in range(_SETTLE_TRIES):
            if outcome is None or self._is_lost:
                return
            try:
                await self._delivery.settle(outcome)
                return
            except BusUnavailableError as error:
                log.warning("settle_failed", error=str(error))
                await asyncio.sleep(_SETTLE_PAUSE_S)

    @property
    def _is_lost(self) -> bool:
        return self._keep_alive.is_expired or (self._chunk is not None and self._chunk.lost)

    def _tell(self, chunk: Chunk, ending: Ending) -> None:
        seconds = time.monotonic() - self._began
        metrics.CHUNKS.labels(self.ready.model, ending.value).inc()
        if ending is Ending.FINISHED:
            metrics.CHUNK_SECONDS.labels(self.ready.model).observe(seconds)
        saved = chunk.segments.saved
        log.info(
            "chunk_let_go",
            ending=ending.value,
            completed=saved.completed,
            failed=saved.failed,
            seconds=round(seconds, 2),
        )
