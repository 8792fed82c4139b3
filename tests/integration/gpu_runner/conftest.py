"""Runners, and a scheduler that does as it is told."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from support.nats_process import NatsProcess
from support.runners import Runners, running
from support.scripted_scheduler import ScriptedScheduler, scripted_scheduler


@pytest.fixture
async def scheduler(bus: Bus, blobs: BlobStore) -> AsyncIterator[ScriptedScheduler]:
    async with scripted_scheduler(bus, blobs) as scripted:
        yield scripted


@pytest.fixture
async def runners(
    scheduler: ScriptedScheduler, nats_process: NatsProcess, tmp_path: Path
) -> AsyncIterator[Runners]:
    async with running(nats_process, tmp_path) as started:
        yield started


@pytest.fixture
def kill_engine() -> Callable[[], None]:
    """Kills the simulated engine that runs below this process."""

    def kill() -> None:
        children = psutil.Process().children(recursive=True)
        [engine] = [c for c in children if "batch_gpu_runner.engines.sim" in _module(c)]
        engine.kill()

    return kill


def _module(process: psutil.Process) -> str:
    """What follows `-m`; nothing for a process that is gone."""
    with contextlib.suppress(psutil.Error, ValueError, IndexError):
        line = process.cmdline()
        return line[line.index("-m") + 1]
    return ""
