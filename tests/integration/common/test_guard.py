"""No engine outlives its runner, however the runner ends."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from support.wait import until

RUNNER = """
import asyncio, sys
from pathlib import Path
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings

async def main():
    engine = create_engine(EngineSettings(engine="sim", state_dir=Path(sys.argv[1])))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

# Ignores the polite signal, and has a child in a session of its own that ignores it as well.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """False as well for a zombie: what it held is given back."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@contextmanager
def guard(
    folder: Path, grace_s: str, *command: str, errors: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["-m", "batch_common.guard", str(folder / "lock"), grace_s, "--"]
    with subprocess.Popen(
        [sys.executable, *arguments, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def started_pid(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    word, pid = process.stdout.readline().split()
    assert word == b"started"
    return int(pid)


async def test_a_killed_runner_takes_its_engine_along(tmp_path: Path) -> None:
    runner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert runner.stdout is not None
    while not (line := await runner.stdout.readline()).strip().isdigit():
        assert line, "the runner ended before its engine served"
    assert alive(int(line))
    runner.kill()
    await runner.wait()
    await until(lambda: not alive(int(line)), what="the engine's end")


async def test_a_stubborn_engine_and_its_far_children_are_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with guard(tmp_path, "0.2", sys.executable, "-c", STUBBORN, str(pids)) as process:
        started_pid(process)
        await until(
            lambda: pids.exists() and len(pids.read_text().splitlines()) == 2, what="two processes"
        )
        family = [int(line) for line in pids.read_text().splitlines()]
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert process.stdout.read() == b"exited -9\n"
        assert not any(alive(pid) for pid in family)


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death signal exists on Linux only")
async def test_a_killed_guard_takes_the_engine_along(tmp_path: Path) -> None:
    with guard(tmp_path, "5", "sleep", "600") as process:
        pid = started_pid(process)
        process.kill()
        await until(lambda: not alive(pid), what="the engine's end")


async def test_what_an_engine_leaves_behind_when_it_ends_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {shlex.quote(str(pids))}; exit 3"
    with guard(tmp_path, "5", "sh", "-c", script) as process:
        started_pid(process)
        assert process.stdout is not None
        assert process.stdout.read() == b"exited 3\n"
        assert not alive(int(pids.read_text()))


async def test_a_new_engine_waits_for_the_old_ones_end(tmp_path: Path) -> None:
    with guard(tmp_path, "5", "sleep", "600") as first:
        old = started_pid(first)
        with guard(tmp_path, "5", "sleep", "600") as second:
            assert first.stdin is not None
            first.stdin.close()
            started_pid(second)
            assert not alive(old)


async def test_a_runner_that_gives_up_waiting_starts_nothing(tmp_path: Path) -> None:
    with guard(tmp_path, "5", "sleep", "600") as first:
        started_pid(first)
        with guard(tmp_path, "5", "touch", str(tmp_path / "ran")) as second:
            assert second.stdin is not None
            second.stdin.close()
            assert second.wait(10) == 0
        assert not (tmp_path / "ran").exists()


async def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as errors, guard(tmp_path, "1", "/nowhere/python", errors=errors) as run:
        started_pid(run)
        assert run.stdout is not None
        assert run.stdout.read() == b"exited 127\n"
    assert "cannot run /nowhere/python" in output.read_text()
