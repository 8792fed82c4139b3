"""`vllm-batch` as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

COMMAND = (sys.executable, "-m", "batch_cli")
# Systems that start side by side would all find the usual port free, and one would get it.
ANY_NATS_PORT = {"VLLM_BATCH_NATS__URL": "nats://127.0.0.1:0"}


def vllm_batch(
    *arguments: str, url: str | None = None, within_s: float = 90
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; `url` is the server for client commands."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
        env=_environment(url),
    )


def begin(*arguments: str, errors: Path) -> subprocess.Popen[str]:
    """Starts it; its standard error goes to a file."""
    with errors.open("w") as file:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=_environment(None),
        )


def family(pid: int) -> list[psutil.Process]:
    """Everything below a process."""
    return psutil.Process(pid).children(recursive=True)


def living(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie holds nothing."""
    return [p for p in processes if p.is_running() and _status(p) != psutil.STATUS_ZOMBIE]


def processes_of(folder: Path) -> list[psutil.Process]:
    """All processes whose command line names something in `folder`."""
    return [p for p in psutil.process_iter() if any(str(folder) in word for word in _words(p))]


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _environment(url: str | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "VLLM_BATCH_"))}
    return kept | ANY_NATS_PORT | ({"OPENAI_BASE_URL": url} if url else {})
