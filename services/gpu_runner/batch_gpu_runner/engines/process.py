"""One run of a managed engine: the guard, the engine under it, and the file it writes to."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from batch_gpu_runner.engines.last_words import one_line, read_last_line, read_last_words

# The guard's own sweep, and the time a loaded machine takes to let us see its end.
_GUARD_END_S = 7.0


class Launch(msgspec.Struct, frozen=True):
    """What to run and where its traces go.

    output: file for everything the engine writes; the one before it is kept as `….previous`
    lock: file that is held while the engine runs, see the guard
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    output: Path
    lock: Path
    grace_s: float


class EngineProcess:
    """A running engine. Made by `launch`; ends by itself, by `stop()`, or with this process."""

    def __init__(self, guard: asyncio.subprocess.Process, launch: Launch) -> None:
        self._guard = guard
        self._launch = launch
        self._watching = asyncio.create_task(self._watch(), name="engine-process")
        self._pid: int | None = None

    @classmethod
    async def launch(cls, launch: Launch) -> "EngineProcess":
        """Start the guard; it starts the engine as soon as an older one has left the lock."""
        descriptor = await asyncio.to_thread(_open_output, launch.output)
        try:
            guard = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # never import from the working directory
                "-m",
                "batch_common.guard",
                str(launch.lock),
                str(launch.grace_s),
                "--",
                *launch.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                env=dict(launch.environment),
                start_new_session=True,  # a Ctrl-C in the terminal is for the runner to act on
            )
        finally:
            os.close(descriptor)
        return cls(guard, launch)

    @property
    def pid(self) -> int | None:
        """The engine's process id; None while the guard waits for an older engine."""
        return self._pid

    @property
    def output(self) -> Path:
        """The file that the engine writes to."""
        return self._launch.output

    async def wait(self) -> str:
        """Wait for the end; how it ended and the engine's last words."""
        how = await asyncio.shield(self._watching)
        words = await self.last_words()
        return f"{how}; last words: {one_line(words)}" if words else how

    async def last_words(self) -> str:
        """What the engine has said so far, its errors first of all."""
        return await asyncio.to_thread(read_last_words, self._launch.output)

    async def last_line(self) -> str:
        """What the engine said most recently."""
        return await asyncio.to_thread(read_last_line, self._launch.output)

    async def stop(self) -> None:
        """Return when engine and guard are gone: within the grace and some seconds. Idempotent."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        limit_s = self._launch.grace_s + _GUARD_END_S
        done, _ = await asyncio.wait({self._watching}, timeout=limit_s)
        if not done:
            self._kill()
            await self._watching

    def _kill(self) -> None:
        """The guard hangs or was stopped: end the engine's group ourselves, then the guard."""
        if self._pid is not None:
            _kill_quietly(self._pid, group=True)
        if self._guard.returncode is None:
            _kill_quietly(self._guard.pid, group=False)

    async def _watch(self) -> str:
        """Follow the guard to its end and say how the engine ended."""
        how = "its guard process was killed"
        assert self._guard.stdout is not None  # noqa: S101
        async for line in self._guard.stdout:
            event, _, value = line.decode().strip().partition(" ")
            if event == "started":
                self._pid = int(value)
            elif event == "exited":
                how = _how(int(value))
        await self._guard.wait()
        return how


def _open_output(output: Path) -> int:
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.exists():
        output.replace(output.with_name(output.name + ".previous"))
    return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _how(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def _kill_quietly(pid: int, *, group: bool) -> None:
    try:
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
