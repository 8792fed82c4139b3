"""Starting services without paying for their imports each time: `python -m chaos.nursery`.

A process that has imported everything and run nothing forks one for each line on its standard
input, and says on its standard output what became of them. What is forked takes the way of
chaos.service_main from its beginning.
"""

import asyncio
import contextlib
import importlib
import os
import random
import select
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from batch_common.service import PARENT_VARIABLE
from chaos.process import Process

_MODULES: Final = (
    "batch_cli.service", "batch_gateway.app", "batch_scheduler.app", "batch_gpu_runner.app",
    "batch_gpu_runner.engines.sim.engine", "batch_sinks.app", "sqlalchemy.dialects.sqlite",
    "aiosqlite", "chaos.service_main",
)  # fmt: skip


class Birth(msgspec.Struct, frozen=True):
    """Arguments of chaos.service_main, and all of its environment."""

    number: int
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: str


class News(msgspec.Struct, frozen=True):
    """code: None at its beginning; negative for a signal."""

    number: int
    pid: int
    code: int | None = None


class Child:
    """As asyncio's Process shows itself."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.returncode: int | None = None
        self.born = asyncio.Event()
        self.ended = asyncio.Event()

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode


class Nursery:
    """The harness's side. Use `start` and `stop`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._children: dict[int, Child] = {}
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chaos.nursery", stdin=PIPE, stdout=PIPE, env=_environment()
        )
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Everything that it has started has left by now."""
        if self._process is None or self._listening is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def bear(self, arguments: tuple[str, ...], env: Mapping[str, str], log: Path) -> Child:
        assert self._process is not None
        assert self._process.stdin is not None
        child = self._children[len(self._children)] = Child(len(self._children))
        birth = Birth(child.number, arguments, dict(env), str(log))
        self._process.stdin.write(msgspec.json.encode(birth) + b"\n")
        await child.born.wait()
        return child

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            news = msgspec.json.decode(line, type=News)
            child = self._children[news.number]
            child.pid, child.returncode = news.pid, news.code
            (child.born if news.code is None else child.ended).set()


class Foster(Process):
    """A role whose processes come from a nursery."""

    def __init__(self, like: Process, nursery: Nursery) -> None:
        super().__init__(like.role, like._command, like._environment, like.log)
        self._nursery = nursery

    async def _launch(self) -> Child:  # type: ignore[override]
        # python -m chaos.service_main …
        return await self._nursery.bear(self._command()[3:], self._environment(), self.log)


def _environment() -> dict[str, str]:
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def main() -> None:
    """Ends when standard input does; whoever is left then notices that its parent is gone."""
    for module in _MODULES:
        importlib.import_module(module)
    running: dict[int, int] = {}
    unread = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        if ready:
            read = os.read(0, 1 << 16)
            if not read:
                return
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                birth = msgspec.json.decode(line, type=Birth)
                pid = os.fork() or _live(birth)
                running[pid] = birth.number
                _tell(News(birth.number, pid))
        _reap(running)


def _reap(running: dict[int, int]) -> None:
    while running:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _tell(News(running.pop(pid), pid, os.waitstatus_to_exitcode(status)))


def _tell(news: News) -> None:
    os.write(1, msgspec.json.encode(news) + b"\n")


def _live(birth: Birth) -> int:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        _redirect(birth.log)
        os.environ.clear()
        os.environ.update(birth.environment, **{PARENT_VARIABLE: str(os.getppid())})
        random.seed()
        service_main = importlib.import_module("chaos.service_main")
        code = service_main.serve(birth.arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nowhere, 0)
    for stream in (1, 2):
        os.dup2(output, stream)


if __name__ == "__main__":
    main()
