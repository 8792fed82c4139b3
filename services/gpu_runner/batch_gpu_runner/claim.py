"""Claims: heartbeat, progress and cancellation of one attempt, asked of the scheduler."""

import asyncio
import time
from typing import Final, Literal

import msgspec

from batch_common.bus import Bus
from batch_common.errors import BusUnavailableError
from batch_common.events import ChunkClaim, ChunkReady, ClaimAnswer, decode, encode
from batch_common.logs import get_log
from batch_common.subjects import CHUNK_CLAIM
from batch_common.tasks import wait_any
from batch_gpu_runner.chunk import Chunk, Ending
from batch_gpu_runner.segments import Counted

log = get_log(__name__)

Answer = Literal["go", "busy", "stop"]

# The claim saves work, the commit gives safety: without a scheduler, work.
NO_ANSWER_S: Final = 10.0
_ASK_S: Final = 2.0
_PAUSE_S: Final = 0.5


class Claim:
    """One attempt's."""

    def __init__(
        self, bus: Bus, ready: ChunkReady, attempt: str, runner: str, *, first: bool
    ) -> None:
        """`first`: the chunk was never delivered before."""
        self._bus = bus
        self._ready = ready
        self._attempt = attempt
        self._runner = runner
        self._first = first
        self._released = False
        # One question at a time: a renewal that overtakes the release would undo it.
        self._asking = asyncio.Lock()

    async def begin(self, leaving: asyncio.Event) -> Answer | None:
        """May this attempt start? None when `leaving` is set before anybody has answered."""
        deadline = time.monotonic() + NO_ANSWER_S
        while not leaving.is_set():
            answer = await self._ask(Counted(), released=False)
            if answer is not None:
                self._first = False
                return answer
            if time.monotonic() > deadline:
                log.warning("claim_unanswered", chunk=self._ready.chunk, after_s=NO_ANSWER_S)
                return "go"
            await wait_any(leaving, timeout_s=_PAUSE_S)
        return None

    async def keep(self, chunk: Chunk, every_s: float) -> None:
        """Renews until released; ends the chunk when the answer says so."""
        while not self._released:
            await asyncio.sleep(every_s)
            answer = await self._ask(chunk.segments.saved, released=False)
            if answer == "stop":
                chunk.end(Ending.STOPPED)
            elif answer == "busy":
                chunk.end(Ending.LOST)

    async def release(self, counted: Counted) -> None:
        """The attempt has flushed and lets go. Unanswered, the claim runs out by itself."""
        self._released = True
        await self._ask(counted, released=True)

    async def _ask(self, counted: Counted, *, released: bool) -> Answer | None:
        claim = ChunkClaim(
            chunk=self._ready.chunk,
            generation=self._ready.generation,
            attempt=self._attempt,
            runner=self._runner,
            completed=counted.completed,
            failed=counted.failed,
            released=released,
            first=self._first,
        )
        try:
            async with self._asking:
                if self._released and not released:
                    return None
                reply = await self._bus.ask(CHUNK_CLAIM, encode(claim), _ASK_S)
            return decode(reply, ClaimAnswer).answer
        except BusUnavailableError as error:
            log.debug("claim_failed", chunk=self._ready.chunk, error=str(error))
        except msgspec.DecodeError as error:
            log.warning("claim_answer_unreadable", chunk=self._ready.chunk, error=str(error))
        return None
