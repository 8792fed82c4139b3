"""One engine's lives: started, watched, started again when it dies."""

import asyncio
import random
from typing import Final

from batch_common.errors import StartError
from batch_common.logs import get_log
from batch_gpu_runner import metrics
from batch_gpu_runner.availability import Availability
from batch_gpu_runner.death import Cause, Death, is_out_of_memory, read_death
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.presence import Presence
from batch_gpu_runner.pulse import Pulse
from batch_gpu_runner.window import Window

log = get_log(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
# After so many starts that failed, or so long without an engine, the chunks are left to others.
LET_GO_TRIES: Final = 3
LET_GO_S: Final = 300.0
_LAST_WORDS_S: Final = 5.0

# For everybody: /readyz shows them without a key, so the details stay in the log.
_DIED: Final = "the engine died and is started again"
_NO_START: Final = "the engine cannot be started; the runner's log says why"
_GIVEN_UP: Final = "the engine does not start again; its chunks are left to others"


class EngineLife:
    """Keeps the engine running, and says how it stands."""

    def __init__(
        self, engine: Engine, pulse: Pulse, presence: Presence, availability: Availability
    ) -> None:
        self._engine = engine
        self._pulse = pulse
        self._presence = presence
        self._availability = availability
        self._gave_up = False

    async def start(self, stop: asyncio.Event) -> bool:
        """The first start. False when `stop` was set first; raises EngineStartError."""
        starting = asyncio.create_task(self._engine.start(), name="engine_start")
        stopping = asyncio.create_task(stop.wait(), name="engine_start_stop")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
            self._serves()
            return True
        except StartError as error:
            await self._leave_for_good(str(error))
            raise
        finally:
            for task in (starting, stopping):
                task.cancel()  # cancelling the start stops what it started
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _leave_for_good(self, why: str) -> None:
        log.error("engine_down", why=why)
        await self._presence.stay_down(_NO_START)

    async def watch(self, window: Window) -> None:
        """Until cancelled. Chunks stay held, and their claims kept, while the engine is away for
        a short time.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            answers = self._pulse.answers
            death = await self._end()
            metrics.ENGINE_UP.set(0)
            metrics.ENGINE_DEATHS.labels(death.cause.value).inc()
            self._availability.engine_away(_DIED)
            log.error("engine_died", why=death.why, cause=death.cause.value)
            window.engine_died(death)
            await window.trial.record()
            # Deaths of suspects are bounded, and the end of their trial is waited for by all.
            if self._pulse.answers > answers or window.trial.is_on:
                pause_s = FIRST_PAUSE_S
            pause_s = await self._start_again(window, pause_s)
            window.engine_up()
            self._serves()

    def _serves(self) -> None:
        self._gave_up = False
        metrics.ENGINE_UP.set(1)
        self._availability.engine_serves()

    async def _end(self) -> Death:
        """Waits until the engine is gone, or answers nothing any more."""
        dying = asyncio.create_task(self._engine.died(), name="engine_died")
        lost = asyncio.create_task(self._pulse.until_lost(), name="engine_lost")
        try:
            await asyncio.wait({dying, lost}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                return read_death(dying.result())
            return Death(lost.result(), Cause.HANG)
        finally:
            for task in (dying, lost):
                task.cancel()
            await asyncio.gather(dying, lost, return_exceptions=True)

    async def _start_again(self, window: Window, pause_s: float) -> float:
        """Returns the pause before the next start, should this life be one without answers."""
        tries = 0
        timer = asyncio.get_running_loop().call_later(LET_GO_S, self._give_up)
        try:
            while True:
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                metrics.ENGINE_RESTARTS.inc()
                why = await self._why_not_started()
                if why is None:
                    return pause_s
                tries += 1
                log.warning("engine_start_failed", error=why, again_in_s=round(pause_s, 1))
                window.trial.memory.start_failed(out_of_memory=is_out_of_memory(why))
                if tries >= LET_GO_TRIES:
                    self._give_up()
        finally:
            timer.cancel()

    async def _why_not_started(self) -> str | None:
        """Starts it; None when it answers. One that dies of any request is as good as not there,
        and no request may be blamed for its deaths.
        """
        try:
            await self._engine.start()
        except StartError as error:
            return str(error)
        if await self._pulse.check():
            return None
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                return f"it died of a small request: {await self._engine.died()}"
        except TimeoutError:
            return "it did not answer a small request"

    def _give_up(self) -> None:
        if not self._gave_up:
            self._gave_up = True
            log.error("engine_down", why=_GIVEN_UP)
            self._availability.engine_down(_GIVEN_UP)
