"""Runners inside the test's own loop, with the simulated engine."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from batch_common.config import Config, Runner
from batch_common.presence import present
from batch_gpu_runner import canary
from batch_gpu_runner.app import run
from batch_gpu_runner.gpu.library import Library
from support.nats_process import NatsProcess
from support.wait import until


class Runners:
    """Starts runners that share one data folder, and stops those that still run."""

    def __init__(self, nats: NatsProcess, folder: Path) -> None:
        self._nats = nats
        self._folder = folder
        self._running: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        self.log = folder / "requests.jsonl"

    def config(self, **changes: Any) -> Config:
        """Quick settings; `options` go to the simulated engine (None: to no such engine)."""
        given = changes.pop("options", {})
        options = {} if given is None else {"request_log": str(self.log)} | given
        number = len(self._running)
        settings = Runner(
            engine="sim", flush_s=0.1, claim_s=0.2, ack_wait_s=2.0, window=16, drain_s=5,
            state_dir=str(self._folder / f"runner-{number}"), options=options,
        )  # fmt: skip
        return Config(
            data_dir=str(self._folder),
            nats=self._nats.settings,
            runner=msgspec.structs.replace(settings, **changes),
        )

    def start(self, library: Library | None = None, **changes: Any) -> "Running":
        """`library`: what GPUs are watched with, where `gpu` says so."""
        stop = asyncio.Event()
        task = asyncio.create_task(run(self.config(**changes), stop, library))
        self._running.append((task, stop))
        return Running(task, stop)

    def served(self) -> list[str]:
        """The prompts the engines answered, over all runners, in order; cut at 120 characters.

        Without the small requests by which runners look whether an engine answers.
        """
        if not self.log.exists():
            return []
        prompts = [json.loads(line)["prompt"] for line in self.log.read_text("utf-8").splitlines()]
        return [prompt for prompt in prompts if prompt != canary.PROMPT]

    async def served_each_once(self, count: int) -> None:
        """The engine's log is a moment late, so wait for the last lines; then none came twice."""
        await until(lambda: len(self.served()) >= count, what=f"{count} requests in the log")
        served = self.served()
        assert len(served) == len(set(served)) == count

    async def stop(self) -> None:
        for task, stop in self._running:
            stop.set()
            if not task.done():
                await asyncio.wait({task}, timeout=30)
                task.cancel()


class Running:
    """One runner."""

    def __init__(self, task: asyncio.Task[None], stop: asyncio.Event) -> None:
        self._task = task
        self._stop = stop

    async def drain(self, within_s: float = 30) -> None:
        """As SIGTERM does."""
        self._stop.set()
        async with asyncio.timeout(within_s):
            await self._task

    async def kill(self) -> None:
        """Cancels everything at once: nothing is flushed, released or settled."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def failure(self) -> BaseException:
        async with asyncio.timeout(30):
            await asyncio.wait({self._task})
        error = self._task.exception()
        assert error is not None
        return error


@contextlib.asynccontextmanager
async def running(nats: NatsProcess, folder: Path) -> AsyncIterator[Runners]:
    runners = Runners(nats, folder)
    try:
        yield runners
    finally:
        await runners.stop()


async def ready_runners(bus: Any) -> int:
    """How many announce themselves as ready."""
    return sum(state.status == "ready" for state in await present(bus))


def engines(folder: Path) -> list[psutil.Process]:
    """The simulated engines below this process whose files are in `folder`."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()
            module = words[words.index("-m") + 1] if "-m" in words else ""
            if module == "batch_gpu_runner.engines.sim" and str(folder) in " ".join(words):
                found.append(child)
    return found
