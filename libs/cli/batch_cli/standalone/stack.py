"""All processes of one standalone run: their order of start, their supervision, their end."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from batch_cli.standalone.child import Child, Ties
from batch_cli.standalone.folder import DataFolder
from batch_cli.standalone.programs import Program
from batch_cli.standalone.readiness import is_ready
from batch_cli.standalone.report import EngineNews, Report
from batch_common.errors import StartError
from batch_common.tasks import cancel_all

_NATS_START_S: Final = 30.0
_POLL_S: Final = 0.1
_NEWS_S: Final = 0.25
_EXIT_KILLED: Final = 128 + signal.SIGINT
_NATS_END_S: Final = 4.0
# Seconds after the signal by which the next in line are asked: the gateway accepts no more, the
# runners hand back what they hold, the scheduler records it, the sinks finish a delivery. Who is
# there still at the end is killed. Then NATS.
_LEAVE: Final = ((("gateway",), 2.0), (("runner",), 21.0), (("scheduler", "sinks"), 25.5))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run consists of. lock: the descriptor that services inherit, see folder.claimed."""

    folder: DataFolder
    nats: Program
    nats_port: int
    services: tuple[Program, ...]
    host: str
    port: int
    runners: int
    lock: int


class Stack:
    """The running processes. Made by `running`."""

    def __init__(self, plan: Plan, ties: Ties, report: Report) -> None:
        self._plan = plan
        self._ties = ties
        self._report = report
        self._serving = asyncio.Event()
        self._over = asyncio.Event()
        self._stopping = False
        self._failure: BaseException | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}
        self._news: asyncio.Task[None] | None = None

    async def until_ready(self) -> bool:
        """False when a signal came first. Raises what ended a process for good."""
        return await self.unless_over(self._become_ready())

    async def unless_over(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do `work`; False when a signal came first. Raises what ended a process for good."""
        task = asyncio.create_task(work)
        over = asyncio.create_task(_until(self._over))
        try:
            await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None:
                raise self._failure
            if self._stopping:
                return False
            task.result()
            return True
        finally:
            await cancel_all({task, over})

    def stop(self) -> None:
        """The first time `unless_over` ends; the second time all processes end at once."""
        if self._stopping:
            self._report.say("ending at once: what is saved stays, the rest is computed again")
            for child in self._children.values():
                child.kill()
            os._exit(_EXIT_KILLED)
        self._stopping = True
        self._over.set()

    async def drain(self) -> None:
        """Everything leaves in order, within 30 s."""
        if self._news is not None:
            await cancel_all({self._news})
        if self._stopping:
            self._report.say("stopping: work in progress is handed back")
        began = time.monotonic()
        for roles, by_s in _LEAVE:
            names = [name for name in self._children if name.startswith(roles)]
            for name in names:
                self._children[name].stop()
            await self._gone(names, began + by_s)
        services = [name for name in self._children if name != self._plan.nats.name]
        for name in services:
            if not self._tasks[name].done():
                self._report.say(f"{name} does not leave and is killed")
                self._children[name].kill()
        await self._gone(services, time.monotonic() + 1.0)
        if nats := self._children.get(self._plan.nats.name):
            nats.stop()
            await self._gone([self._plan.nats.name], time.monotonic() + _NATS_END_S)
        await cancel_all(set(self._tasks.values()))

    async def _become_ready(self) -> None:
        plan = self._plan
        runners = [program for program in plan.services if program.is_runner]
        news = [EngineNews(one, self._report, named=len(runners) > 1) for one in runners]
        self._news = asyncio.create_task(self._tell(news), name="engine_news")
        self._start(plan.nats)
        await self._until_nats_answers()
        for program in plan.services:
            self._start(program)
        self._report.say("API, scheduler and sinks start, and the engine")
        while not await asyncio.to_thread(  # noqa: ASYNC110 - another process is asked
            is_ready, plan.host, plan.port, plan.runners
        ):
            await asyncio.sleep(_POLL_S)
        self._serving.set()

    async def _tell(self, news: list[EngineNews]) -> None:
        while True:
            for runner in news:
                await asyncio.to_thread(runner.tell, serving=self._serving.is_set())
            await asyncio.sleep(_NEWS_S)

    async def _until_nats_answers(self) -> None:
        deadline = time.monotonic() + _NATS_START_S
        while not await asyncio.to_thread(_answers, self._plan.nats_port):
            if time.monotonic() > deadline:
                raise StartError(
                    f"nats-server does not answer within {_NATS_START_S:g} s: "
                    f"see {self._plan.nats.log}"
                )
            await asyncio.sleep(_POLL_S)

    def _start(self, program: Program) -> None:
        child = Child(program, self._ties, self._report)
        task = asyncio.create_task(child.supervise(self._serving), name=program.name)
        task.add_done_callback(self._ended)
        self._children[program.name] = child
        self._tasks[program.name] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._over.set()

    async def _gone(self, names: list[str], deadline: float) -> None:
        tasks = [self._tasks[name] for name in names]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - time.monotonic()))


@asynccontextmanager
async def running(plan: Plan, report: Report) -> AsyncIterator[Stack]:
    """The block runs beside the processes; SIGINT and SIGTERM end its waits. When it is over, they
    have left.
    """
    watched, held = os.pipe()
    stack = Stack(plan, Ties(plan.lock, held, watched), report)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stack.stop)
    try:
        yield stack
    finally:
        await stack.drain()
        os.close(held)
        os.close(watched)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _answers(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
