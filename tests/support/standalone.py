"""A whole standalone system, started as a user would, watched and hurt from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from support.command_line import ANY_NATS_PORT

SERVICES = ("gateway", "scheduler", "runner", "sinks")
NATS = "nats-server"


class Standalone:
    """`vllm-batch up`, its address and its processes."""

    api_key = "none"

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self._popen = process
        self._process = psutil.Process(process.pid)
        self.url = url
        self.folder = folder

    def roles(self) -> dict[str, list[psutil.Process]]:
        """Every process below `up`, by service; `nats-server`, and `engine` for the rest."""
        found: dict[str, list[psutil.Process]] = {}
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found.setdefault(_role(child), []).append(child)
        return found

    def pid(self, role: str) -> int:
        """The process of that service, waiting while it is being started again."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if running := self.roles().get(role):
                return int(running[0].pid)
            time.sleep(0.05)
        raise AssertionError(f"{role} is not running")

    def send(self, role: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends it and returns the pid it went to."""
        pid = self.pid(role)
        os.kill(pid, number)
        return pid

    def said(self) -> str:
        """What it has written to standard error."""
        return (self.folder.parent / f"{self.folder.name}.stderr").read_text("utf-8")

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 40) -> int:
        """Ends `up`; its exit code."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        code = self._popen.wait(within_s)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code

    def peak_mib(self, role: str) -> float:
        """The most resident memory that process has ever had (VmHWM)."""
        status = Path(f"/proc/{self.pid(role)}/status").read_text("ascii")
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024

    def resident_mib(self, role: str) -> float:
        return float(psutil.Process(self.pid(role)).memory_info().rss) / (1 << 20)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by role."""
        spent: dict[str, float] = {}
        for role, processes in self.roles().items():
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    spent[role] = spent.get(role, 0.0) + times.user + times.system
        return spent


def _role(process: psutil.Process) -> str:
    words = process.cmdline()[:8]
    if any(word.endswith(NATS) for word in words):
        return NATS
    return next((name for name in SERVICES if name in words), "engine")


def start(
    folder: Path,
    arguments: Sequence[str] = (),
    engine: Sequence[str] = ("--engine", "sim"),
    command: Sequence[str] = (sys.executable, "-m", "batch_cli.main"),
) -> Standalone:
    """Starts `up` with its data in `folder` and waits for `ready`.

    Fails the test with the last words on standard error when it does not come up.
    """
    options = ("--data-dir", str(folder), "--port", "0", *engine, *arguments)
    said = folder.parent / f"{folder.name}.stderr"
    with said.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*command, "up", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **ANY_NATS_PORT},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.stdout.close()
        process.wait(30)
        raise AssertionError(f"`up` did not come up: {said.read_text('utf-8')[-3000:]}")
    return Standalone(process, line.split()[1], folder)


@contextlib.contextmanager
def standalone(
    folder: Path, *arguments: str, engine: Sequence[str] = ("--engine", "sim")
) -> Iterator[Standalone]:
    """Started, and stopped when the block ends."""
    system = start(folder, arguments, engine)
    try:
        yield system
    finally:
        system.stop()
