"""The requests in flight at one engine, fed from every chunk held.

A fixed set of workers, one request each at a time: no task is made per request. Whoever abandons
a request cancels its worker, and another takes its place.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from batch_common.config import Runner
from batch_common.logs import get_log
from batch_common.tasks import Tasks, wait_any
from batch_gpu_runner import metrics
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.death import Death
from batch_gpu_runner.engines.base import (
    Engine,
    EngineConnectionError,
    EngineLoad,
    EngineTimeoutError,
)
from batch_gpu_runner.feed import Feed
from batch_gpu_runner.follow import Following, follow
from batch_gpu_runner.memory_record import MemoryRecord
from batch_gpu_runner.pulse import Pulse
from batch_gpu_runner.request import Outcome, Policy, Result, decide
from batch_gpu_runner.suspect_record import SuspectRecord
from batch_gpu_runner.trial import Trial

log = get_log(__name__)

# A connection that broke is not tried again sooner than this.
_AWAY_S: Final = 4.0
REGROW_S: Final = 10.0
FOLLOW_S: Final = 2.0
_SERVER_ERROR: Final = 500


class Window:
    """`size` requests at most. Paused from the engine's death until `engine_up`."""

    def __init__(
        self, engine: Engine, settings: Runner, pulse: Pulse, trial: Trial, tasks: Tasks
    ) -> None:
        self.size = 0
        self.trial = trial
        self._following = Following(trial.memory.size)
        self._share = 1.0
        self._engine = engine
        self._pulse = pulse
        self._timeout_s = settings.request_timeout_s
        self._policy = Policy(settings.request_attempts)
        self._tasks = tasks
        self._feed = Feed()
        self._workers: set[asyncio.Task[None]] = set()
        self._in_flight: dict[Request, asyncio.Task[Any]] = {}
        # They got no answer that counts; whether the engine died of them shows soon.
        self._dropped: dict[Request, asyncio.Task[Any]] = {}
        self._more = asyncio.Event()
        self._quiet = asyncio.Event()
        self._paused = False
        self._leaving = False
        self._closed = False
        self._resize()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def narrow(self, share: float) -> None:
        """From now on only this share of the requests that would otherwise be sent; 1.0: all."""
        self._share = share
        self._resize()

    def _resize(self) -> None:
        """Takes effect at once upwards, and downwards as requests end."""
        size = max(1, int(min(self._following.size, self.trial.memory.size) * self._share))
        if size == self.size:
            return
        log.debug("window_resized", was=self.size, now=size)
        self.size = size
        metrics.WINDOW.set(size)
        self._fill()
        self.wake()

    def add(self, chunk: Chunk, record: SuspectRecord | None = None) -> None:
        """Feeds its lines until it is dropped. `record`: what an earlier attempt suspected."""
        if record is not None:
            self.trial.add(chunk, record)
        self._feed.add(chunk)
        self.wake()

    def drop(self, chunk: Chunk) -> None:
        """Feeds no more of it and abandons its requests in flight."""
        chunk.closed = True
        self._feed.drop(chunk)
        self.trial.drop(chunk)
        for request, worker in [*self._in_flight.items(), *self._dropped.items()]:
            if request.chunk is chunk:
                worker.cancel()
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self._more.set()

    def engine_died(self, death: Death) -> None:
        """What was in flight is to be sent again: a dead engine's errors are no results."""
        self._paused = True
        lost = {**self._in_flight, **self._dropped}
        self.trial.engine_died([each for each in lost if not each.chunk.closed], death)
        for worker in lost.values():
            worker.cancel()
        self._resize()

    def engine_up(self) -> None:
        """A new engine serves."""
        self._paused = False
        self.wake()

    async def regrow(self, record: MemoryRecord) -> None:
        """Until cancelled: takes back, little by little, what was given up for lack of memory, and
        keeps in `record` what turned out to work.
        """
        recorded = self.trial.memory.spared
        while True:
            await asyncio.sleep(REGROW_S)
            if self._paused or self.trial.is_on:
                continue
            if self.trial.memory.passed(REGROW_S):
                self._resize()
            if self.trial.memory.spared != recorded:
                recorded = self.trial.memory.spared
                await record.save(recorded)

    async def follow(self) -> None:
        """Until cancelled: keeps the engine's own queue short."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            if self._paused or self.trial.is_on:
                continue
            load = await self._engine.load()
            _show(load)
            ceiling = self.trial.memory.size
            self._following = follow(self._following, load, self.in_flight, ceiling)
            self._resize()

    async def drain(self, within_s: float) -> None:
        """Sends nothing more; returns when nothing is in flight or the time is up."""
        self._leaving = True
        if self._in_flight:
            await wait_any(self._quiet, timeout_s=within_s)

    def close(self) -> None:
        """Workers that end from now on are not replaced."""
        self._closed = True

    def _fill(self) -> None:
        while len(self._workers) < self.size and not self._closed:
            worker = self._tasks.spawn("window", self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._replace)

    def _replace(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if worker.cancelled():
            self._fill()

    async def _work(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101 - it is a task's coroutine
        while len(self._workers) <= self.size:
            request = self._take()
            if request is not None:
                await self._serve(request, worker)
                continue
            self._more.clear()
            await self._more.wait()
        self._workers.discard(worker)  # at once: the others look at the number, too

    def _take(self) -> Request | None:
        if self._paused or self._leaving:
            return None
        if self.trial.is_on:
            suspect = self._take_suspect()
            if suspect is not None or self.trial.is_on:
                return suspect
        if self._feed.has_retries:
            due = self._feed.take_due(asyncio.get_running_loop().time())
            if due is not None:
                return due
        return self._feed.take()

    def _take_suspect(self) -> Request | None:
        idle = not self._in_flight and not self._dropped
        request = self.trial.take(idle=idle)
        if idle:
            self.wake()  # the others of its group may be sent, or everything
        return request

    async def _serve(self, request: Request, worker: asyncio.Task[Any]) -> None:
        """Sends one request and does what follows from the outcome."""
        answers = self._pulse.answers
        self._in_flight[request] = worker
        try:
            outcome = await self._post(request)
        finally:
            del self._in_flight[request]
            if not self._in_flight:
                self._fell_idle()
        if isinstance(outcome, EngineTimeoutError):
            if self._pulse.answers == answers:
                await self._doubt(request, worker, self._pulse.until_answering())
        elif isinstance(outcome, EngineConnectionError) or outcome.status >= _SERVER_ERROR:
            await self._doubt(request, worker, self._pulse.until_serving())
        else:
            self._pulse.heard()
        await self._conclude(request, outcome)

    def _fell_idle(self) -> None:
        if self._leaving:
            self._quiet.set()
        if self.trial.is_on:
            self.wake()

    async def _doubt(
        self, request: Request, worker: asyncio.Task[Any], clear: Coroutine[Any, Any, None]
    ) -> None:
        """Waits until it is clear that the engine lives on; cancelled when it turns out dead."""
        self._dropped[request] = worker
        try:
            await clear
        finally:
            del self._dropped[request]

    async def _conclude(self, request: Request, outcome: Outcome) -> None:
        decision = decide(outcome, request.attempt, self._policy)
        if isinstance(decision, Result):
            request.chunk.add(request, decision)
            return
        pause = jittered(decision.delay_s)
        if isinstance(outcome, EngineConnectionError):
            pause = max(_AWAY_S, pause)
        self._retry(request, pause)
        if decision.slows:
            await asyncio.sleep(pause)

    async def _post(self, request: Request) -> Outcome:
        try:
            return await self._engine.post(
                request.chunk.ready.endpoint, request.body, self._timeout_s
            )
        except (EngineConnectionError, EngineTimeoutError) as error:
            return error

    def _retry(self, request: Request, pause: float) -> None:
        if request.chunk.closed:
            return
        metrics.RETRIES.labels(request.chunk.ready.model).inc()
        again = msgspec.structs.replace(request, attempt=request.attempt + 1)
        loop = asyncio.get_running_loop()
        due = loop.time() + pause
        self._feed.later(again, due)
        loop.call_at(due, self.wake)


def _show(load: EngineLoad | None) -> None:
    if load is None:
        return
    for gauge, value in (
        (metrics.ENGINE_WAITING, load.waiting),
        (metrics.ENGINE_RUNNING, load.running),
        (metrics.ENGINE_CACHE, load.kv_cache_usage),
    ):
        if value is not None:
            gauge.set(value)


def jittered(pause: float) -> float:
    """Never shorter, so that a `Retry-After` is kept; up to half as long again."""
    return pause * random.uniform(1.0, 1.5)
