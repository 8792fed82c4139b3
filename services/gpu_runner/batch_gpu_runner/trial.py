"""What follows from an engine's deaths: who is tried, who is convicted, how much is sent."""

import asyncio
from typing import Final

from batch_common.blobs import BlobStore
from batch_common.errors import BlobStoreFullError, BlobUnavailableError
from batch_common.logs import get_log
from batch_gpu_runner import metrics
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.death import Death
from batch_gpu_runner.memory import Memory
from batch_gpu_runner.request import Result
from batch_gpu_runner.suspect_record import SuspectRecord, make_record, save_record, take_up
from batch_gpu_runner.suspects import Convicted, Suspects

log = get_log(__name__)

_RECORD_TRIES: Final = 3
_RECORD_PAUSE_S: Final = 1.0


class Trial:
    """Over all chunks that one runner holds."""

    def __init__(self, memory: Memory, blobs: BlobStore) -> None:
        self.memory = memory
        self._blobs = blobs
        self._suspects = Suspects()
        # Of the chunks held: their error lines may not be durable yet.
        self._convicted: list[Convicted] = []

    @property
    def is_on(self) -> bool:
        """While this holds, nothing but what `take()` gives may be sent."""
        return self._suspects.on_trial

    def add(self, chunk: Chunk, record: SuspectRecord) -> None:
        """Goes on with what an earlier attempt at the chunk has left."""
        groups, convicted = take_up(chunk, record)
        self._suspects.add(groups)
        self._convicted += convicted

    def drop(self, chunk: Chunk) -> None:
        """The chunk is no longer held."""
        self._suspects.drop(chunk)
        self._convicted = [each for each in self._convicted if each.request.chunk is not chunk]

    def take(self, *, idle: bool) -> Request | None:
        """The next to send; None when there is none now. `idle`: nothing is in flight."""
        if idle:
            self._suspects.survived()
        return self._suspects.take(idle=idle)

    def engine_died(self, in_flight: list[Request], death: Death) -> None:
        """Accuses what was in flight, and gives the one that is convicted its error."""
        self.memory.died(death, len(in_flight), on_trial=self.is_on)
        convicted = self._suspects.engine_died(in_flight, death)
        log.warning("requests_suspected", in_flight=len(in_flight), convicted=bool(convicted))
        for each in in_flight:
            metrics.REDONE.labels(each.chunk.ready.model, "engine_died").inc()
        if convicted is not None:
            chunk = convicted.request.chunk
            metrics.CONVICTED.labels(chunk.ready.model, convicted.error.code).inc()
            self.memory.convicted(death)
            self._convicted.append(convicted)
            chunk.add(convicted.request, Result(succeeded=False, error=convicted.error))

    async def record(self) -> None:
        """Before anything is tried again, so that no runner's end can lose what is known.

        Only work is lost when the blob store stays away: the trial would begin anew.
        """
        known = [*self._suspects.chunks(), *(each.request.chunk for each in self._convicted)]
        for chunk in dict.fromkeys(known):
            record = make_record(chunk, self._suspects.of(chunk), self._convicted)
            await self._record(chunk, record)

    async def _record(self, chunk: Chunk, record: SuspectRecord) -> None:
        for _ in range(_RECORD_TRIES):
            try:
                await save_record(self._blobs, chunk, record)
                return
            except (BlobUnavailableError, BlobStoreFullError) as error:
                log.warning("suspects_not_recorded", chunk=chunk.ready.chunk, error=str(error))
                await asyncio.sleep(_RECORD_PAUSE_S)
