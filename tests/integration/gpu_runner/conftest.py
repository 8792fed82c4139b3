"""Runners, and a scheduler that does as it is told."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from support.nats_process import NatsProcess
from support.runners import Runners, engines, running
from support.scripted_scheduler import ScriptedScheduler, scripted_scheduler
from support.wait import until


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
    await until(lambda: not engines(tmp_path), what="the engines' end, with their runners")


@pytest.fixture
def kill_engine(tmp_path: Path) -> Callable[[], None]:
    """Kills the simulated engine of this test's runner."""

    def kill() -> None:
        [engine] = engines(tmp_path)
        engine.kill()

    return kill
