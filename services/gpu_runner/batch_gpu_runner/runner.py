"""The runner: an engine, a window, and the chunks held; built, run and drained in one order."""

import asyncio
from typing import Final

from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.events import ChunkReady
from batch_common.logs import get_log
from batch_common.pull import Delivery
from batch_common.tasks import Tasks, cancel_all
from batch_gpu_runner import metrics
from batch_gpu_runner.availability import Availability
from batch_gpu_runner.engine_life import EngineLife
from batch_gpu_runner.gear import Gear
from batch_gpu_runner.gpu.policy import Health
from batch_gpu_runner.gpu.watch import Verdict
from batch_gpu_runner.hold import Bench, Hold
from batch_gpu_runner.intake import Intake
from batch_gpu_runner.memory import Memory
from batch_gpu_runner.presence import Presence, runner_id
from batch_gpu_runner.pulse import Pulse
from batch_gpu_runner.trial import Trial
from batch_gpu_runner.window import Window

log = get_log(__name__)

# With drain_s and the engine's own end below the 30 s that a supervisor waits.
_HAND_BACK_S: Final = 6.0


class GpuRunner:
    """One engine and the loop that feeds it."""

    def __init__(self, bus: Bus, blobs: BlobStore, gear: Gear) -> None:
        settings = gear.settings
        self.name = runner_id()
        self._bus = bus
        self._blobs = blobs
        self._gear = gear
        self._engine = gear.engine
        self._settings = settings
        self._presence = Presence(bus, self.name, gear)
        self._pulse = Pulse(gear.engine, settings.engine_silence_s, settings.request_timeout_s)
        self._availability = Availability(self._presence, self._let_go)
        self._life = EngineLife(gear.engine, self._pulse, self._presence, self._availability)
        self._window: Window | None = None
        self._leaving = asyncio.Event()
        self._announcing: asyncio.Task[None]
        self._pulling: set[asyncio.Task[None]] = set()
        self._holds: dict[asyncio.Task[None], Hold] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then drains. Raises EngineStartError when the engine does not start."""
        async with Tasks(stop) as tasks:
            self._announcing = tasks.spawn("presence", self._presence.run())
            tasks.spawn("gpus", self._gear.gpus.run(self._judged))
            metrics.begin(self._engine.models)
            try:
                memory = await self._memory()
                if await self._life.start(stop):
                    await self._serve(stop, memory, tasks)
                    await asyncio.gather(self._end(), self._handed_back())
            finally:
                await self._end()

    async def _memory(self) -> Memory:
        """Before the engine's first start, which it decides about."""
        size = self._settings.window or self._engine.default_window
        return Memory(self._engine, size, await self._gear.record.load())

    def _judged(self, verdict: Verdict) -> None:
        """The GPUs became better or worse."""
        if verdict.health is Health.CRITICAL:
            self._availability.gpu_critical(verdict.why)
        else:
            self._availability.gpu_usable()
        self._narrow()

    def _narrow(self) -> None:
        is_well = self._gear.gpus.verdict.health is Health.HEALTHY
        if self._window is not None:
            self._window.narrow(1.0 if is_well else self._settings.gpu.degraded_window)

    async def _serve(self, stop: asyncio.Event, memory: Memory, tasks: Tasks) -> None:
        """Until `stop`; then nothing is at the engine any more, and every chunk is on its way."""
        trial = Trial(memory, self._blobs)
        window = Window(self._engine, self._settings, self._pulse, trial, tasks)
        self._window = window
        self._narrow()
        watching = {
            tasks.spawn("engine_life", self._life.watch(window)),
            tasks.spawn("regrow", window.regrow(self._gear.record)),
            tasks.spawn("follow", window.follow()),
        }
        bench = self._bench(window, stop)
        intakes = [self._intake(bench, model, tasks) for model in self._engine.models]
        self._pulling = {tasks.spawn("intake", intake.run()) for intake in intakes}
        self._presence.feeds(window)
        log.info("runner_ready", runner=self.name, models=self._engine.models, window=window.size)
        try:
            await stop.wait()
            await self._drain(window)
            await cancel_all(watching)  # from here on the engine's end is our own wish
        finally:
            window.close()

    def _bench(self, window: Window, stop: asyncio.Event) -> Bench:
        return Bench(
            bus=self._bus,
            blobs=self._blobs,
            engine=self._engine,
            window=window,
            settings=self._settings,
            runner=self.name,
            stop=stop,
            leaving=self._leaving,
        )

    def _intake(self, bench: Bench, model: str, tasks: Tasks) -> Intake:
        def take(delivery: Delivery, ready: ChunkReady) -> None:
            rates = self._presence.rates_of(ready.model)
            hold = Hold(bench, delivery, ready, rates, lambda: intake.sent(ready.chunk))
            if self._availability.is_down:  # a fetch was under way
                hold.drain()
            task = tasks.spawn("hold", hold.run())
            self._holds[task] = hold
            metrics.CHUNKS_HELD.set(len(self._holds))
            task.add_done_callback(let_go)

        def let_go(task: asyncio.Task[None]) -> None:
            intake.let_go(self._holds.pop(task).ready.chunk)
            metrics.CHUNKS_HELD.set(len(self._holds))

        intake = Intake(
            self._bus, model, self._settings, self._availability.up, self._leaving, take
        )
        return intake

    async def _drain(self, window: Window) -> None:
        """Stop pulling, then let requests end: what they have cost so far is not thrown away."""
        log.info("draining", chunks=len(self._holds), in_flight=window.in_flight)
        self._leaving.set()
        self._presence.shows("draining")
        await window.drain(self._settings.drain_s)
        self._let_go()

    def _let_go(self) -> None:
        for hold in self._holds.values():
            hold.drain()

    async def _handed_back(self) -> None:
        """Waits until results are saved and messages settled; what is late stays unsettled."""
        left = {*self._holds, *self._pulling}
        if left:
            _, late = await asyncio.wait(left, timeout=_HAND_BACK_S)
            if late:
                log.warning("drain_incomplete", late=[task.get_name() for task in late])

    async def _end(self) -> None:
        """Idempotent."""
        await cancel_all({self._announcing})
        await asyncio.gather(self._engine.stop(), self._presence.leave())
