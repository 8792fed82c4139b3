"""One engine's lives: started, watched, started again when it dies."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from batch_common.errors import StartError
from batch_common.logs import get_log
from batch_gpu_runner import metrics
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.presence import Status
from batch_gpu_runner.window import Window

log = get_log(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class EngineLife:
    """Keeps the engine running. `up` is set while it serves."""

    def __init__(self, engine: Engine) -> None:
        self.up = asyncio.Event()
        self._engine = engine

    async def start(self, stop: asyncio.Event) -> bool:
        """The first start. False when `stop` was set first; raises EngineStartError."""
        starting = asyncio.create_task(self._engine.start(), name="engine_start")
        stopping = asyncio.create_task(stop.wait(), name="engine_start_stop")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
            self.up.set()
            return True
        finally:
            for task in (starting, stopping):
                task.cancel()  # cancelling the start stops what it started
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def watch(self, window: Window, shows: Callable[[Status], None]) -> None:
        """Until cancelled. Chunks stay held, and their claims kept, while the engine is away.

        `shows` is told how the runner stands.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            answered = window.answered
            why = await self._engine.died()
            self.up.clear()
            shows("starting")
            log.error("engine_died", why=why)
            window.engine_died(why)
            if window.answered > answered:
                pause_s = FIRST_PAUSE_S
            pause_s = await self._start_again(pause_s)
            window.engine_up()
            self.up.set()
            shows("ready")

    async def _start_again(self, pause_s: float) -> float:
        """Returns the pause before the next start, should this life be one without answers."""
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            metrics.ENGINE_RESTARTS.inc()
            try:
                await self._engine.start()
            except StartError as error:
                log.warning("engine_start_failed", error=str(error), again_in_s=round(pause_s, 1))
            else:
                return pause_s
