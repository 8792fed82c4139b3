"""The requests in flight at one engine, fed from every chunk held.

A fixed set of workers, one request each at a time: no task is made per request. Whoever abandons
a request cancels its worker, and another takes its place.
"""

import asyncio
import random
from typing import Any, Final

import msgspec

from batch_common.config import Runner
from batch_common.logs import get_log
from batch_common.tasks import Tasks, wait_any
from batch_gpu_runner import metrics
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.engines.base import Engine, EngineConnectionError, EngineTimeoutError
from batch_gpu_runner.feed import Feed
from batch_gpu_runner.request import ENGINE_ERROR, Outcome, Policy, Result, decide, failed, pause_s
from batch_gpu_runner.suspects import Suspects

log = get_log(__name__)

# A dying engine drops its connections some seconds before the last of its processes is gone.
_DEATH_NOTICE_S: Final = 4.0
_WORDS: Final = 500


class Window:
    """`size` requests at most. Paused from the engine's death until `engine_up`."""

    def __init__(self, engine: Engine, settings: Runner, tasks: Tasks) -> None:
        # Requests answered so far, whatever the answer.
        self.answered = 0
        self.size = 0
        self._engine = engine
        self._timeout_s = settings.request_timeout_s
        self._policy = Policy(settings.request_attempts)
        self._tasks = tasks
        self._feed = Feed()
        self._suspects = Suspects(settings.request_attempts)
        self._workers: set[asyncio.Task[None]] = set()
        self._in_flight: dict[Request, asyncio.Task[Any]] = {}
        # Their connection broke; whether the engine died of them shows soon.
        self._dropped: dict[Request, asyncio.Task[Any]] = {}
        self._more = asyncio.Event()
        self._quiet = asyncio.Event()
        self._paused = False
        self._leaving = False
        self._closed = False

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def resize(self, size: int) -> None:
        """Takes effect at once upwards, and downwards as requests end."""
        self.size = size
        metrics.WINDOW.set(size)
        self._fill()
        self.wake()

    def add(self, chunk: Chunk) -> None:
        """Feeds its lines until it is dropped."""
        self._feed.add(chunk)
        self.wake()

    def drop(self, chunk: Chunk) -> None:
        """Feeds no more of it and abandons its requests in flight."""
        chunk.closed = True
        self._feed.drop(chunk)
        self._suspects.drop(chunk)
        for request, worker in [*self._in_flight.items(), *self._dropped.items()]:
            if request.chunk is chunk:
                worker.cancel()
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self._more.set()

    def engine_died(self, why: str) -> None:
        """What was in flight is to be sent again: a dead engine's errors are no results."""
        self._paused = True
        lost = {**self._in_flight, **self._dropped}
        suspects = [request for request in lost if not request.chunk.closed]
        convicted = self._suspects.engine_died(suspects)
        for worker in lost.values():
            worker.cancel()
        log.warning("requests_suspected", in_flight=len(suspects), convicted=convicted is not None)
        if convicted is not None:
            message = f"the engine died whenever it ran this request: {why[:_WORDS]}"
            convicted.chunk.add(convicted, failed(ENGINE_ERROR, message))

    def engine_up(self) -> None:
        """A new engine serves."""
        self._paused = False
        self.wake()

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
        if self._suspects.on_trial:
            return self._take_suspect()
        if self._feed.has_retries:
            due = self._feed.take_due(asyncio.get_running_loop().time())
            if due is not None:
                return due
        return self._feed.take()

    def _take_suspect(self) -> Request | None:
        request = self._suspects.take()
        if request is None and not self._in_flight and not self._dropped:
            self._suspects.survived()
            self.wake()  # the next group, or everything, may be sent
            return self._take()
        return request

    async def _serve(self, request: Request, worker: asyncio.Task[Any]) -> None:
        """Sends one request and does what follows from the outcome."""
        self._in_flight[request] = worker
        try:
            outcome = await self._post(request)
        finally:
            del self._in_flight[request]
            if self._leaving and not self._in_flight:
                self._quiet.set()
        if isinstance(outcome, EngineConnectionError):
            await self._await_death_notice(request, worker)
        else:
            self.answered += 1
        decision = decide(outcome, request.attempt, self._policy)
        if isinstance(decision, Result):
            request.chunk.add(request, decision)
            return
        pause = 0.0 if isinstance(outcome, EngineConnectionError) else jittered(decision.delay_s)
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

    async def _await_death_notice(self, request: Request, worker: asyncio.Task[Any]) -> None:
        """Cancelled when the engine turns out to be dead; else the pause before a retry."""
        self._dropped[request] = worker
        try:
            pause = pause_s(request.attempt, self._policy)
            await asyncio.sleep(max(_DEATH_NOTICE_S, jittered(pause)))
        finally:
            del self._dropped[request]

    def _retry(self, request: Request, pause: float) -> None:
        if request.chunk.closed:
            return
        metrics.RETRIES.labels(request.chunk.ready.model).inc()
        again = msgspec.structs.replace(request, attempt=request.attempt + 1)
        loop = asyncio.get_running_loop()
        due = loop.time() + pause
        self._feed.later(again, due)
        loop.call_at(due, self.wake)


def jittered(pause: float) -> float:
    """Never shorter, so that a `Retry-After` is kept; up to half as long again."""
    return pause * random.uniform(1.0, 1.5)
