"""One process of the system, started again whenever it ends."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from batch_cli.standalone.last_error import last_error

_FIRST_PAUSE_S = 0.3
_TURN_S = 0.02
_SERVING = {
    "gateway": b"gateway_listening",
    "scheduler": b"scheduler_started",
    "runner": b"runner_ready",
    "sinks": b"sinks_started",
}


class Ended(msgspec.Struct, frozen=True):
    """An end that no fault asked for. code: negative for a signal."""

    role: str
    code: int
    said: str


class Process:
    """A role: whoever plays it at the moment, and the supervisor that replaces him."""

    def __init__(
        self,
        role: str,
        command: Callable[[], tuple[str, ...]],
        environment: Callable[[], Mapping[str, str]],
        log: Path,
    ) -> None:
        """Command and environment are asked for at every start."""
        self.role = role
        self.log = log
        self.ended: list[Ended] = []
        self.peak_mib = 0.0
        self._command = command
        self._environment = environment
        self._running: asyncio.subprocess.Process | None = None
        self._offset = 0
        self._expected = False
        self._down_s = _FIRST_PAUSE_S
        self._wanted = True
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while nobody plays the role."""
        running = self._running
        return running.pid if running is not None and running.returncode is None else None

    def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise(), name=self.role)

    async def running_pid(self, within_s: float = 30) -> int:
        """Waits while the process is being started again."""
        deadline = time.monotonic() + within_s
        while (pid := self.pid) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.role} does not run: see {self.log}")
            await asyncio.sleep(_TURN_S)
        return pid

    async def serving(self, within_s: float = 20) -> bool:
        """Whether it says that it does, in its log, before the time is over."""
        deadline = time.monotonic() + within_s
        mark = _SERVING[self.role.partition("-")[0]]
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
                log.seek(self._offset)
                if mark in log.read():
                    return True
            await asyncio.sleep(5 * _TURN_S)
        return False

    async def send(self, number: signal.Signals) -> int:
        """The pid it went to."""
        pid = await self.running_pid()
        os.kill(pid, number)
        return pid

    async def replace(self, number: signal.Signals, down_s: float = 0.3) -> float:
        """Ends it by a signal; another one starts `down_s` later. Seconds until it was gone."""
        pid = await self.running_pid()
        ending = self._running
        began = time.monotonic()
        # It may have ended by itself, and nobody has asked yet how: that is no end by this fault.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.expect_end(down_s)
        assert ending is not None
        await ending.wait()
        gone_after_s = time.monotonic() - began
        await self.running_pid()
        return gone_after_s

    def expect_end(self, down_s: float = _FIRST_PAUSE_S) -> None:
        """Whoever plays the role now is about to be ended by a fault, in a way of its own."""
        self._expected, self._down_s = True, down_s

    async def stop(self, within_s: float = 35) -> None:
        """Ends it for good."""
        self._wanted, self._expected = False, True
        if self._supervisor is None:
            return
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
        done, _ = await asyncio.wait({self._supervisor}, timeout=within_s)
        if not done:
            if (pid := self.pid) is not None:
                os.kill(pid, signal.SIGKILL)
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})

    def look_at_memory(self) -> None:
        """Notes the most resident memory that it has ever had (VmHWM)."""
        if (pid := self.pid) is None:
            return
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{pid}/status").read_text("ascii")
            [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
            self.peak_mib = max(self.peak_mib, int(line.split()[1]) / 1024)

    async def _supervise(self) -> None:
        while self._wanted:
            self._expected, self._down_s = False, _FIRST_PAUSE_S
            self._offset = self.log.stat().st_size if self.log.exists() else 0
            self._running = await self._launch()
            code = await self._running.wait()
            if not self._expected:
                self.ended.append(Ended(self.role, code, last_error(self.log, self._offset)[:500]))
            if self._wanted:
                await asyncio.sleep(self._down_s)

    async def _launch(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._environment()),
                start_new_session=True,
            )
