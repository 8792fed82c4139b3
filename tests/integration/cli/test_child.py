"""Supervision of real processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from batch_cli.standalone.child import Child, Ties
from batch_cli.standalone.folder import DataFolder, claimed
from batch_cli.standalone.programs import Program
from batch_cli.standalone.report import Report
from batch_common.errors import BatchServerError, ConfigError, StartError
from support.wait import until


@asynccontextmanager
async def supervised(
    folder: Path, code: str, *, serving: bool
) -> AsyncIterator[tuple[Child, asyncio.Task[None]]]:
    program = Program(
        name="service",
        command=(sys.executable, "-c", code, str(folder / "lives")),
        environment=dict(os.environ),
        log=folder / "service.log",
    )
    watched, held = os.pipe()
    ready = asyncio.Event()
    if serving:
        ready.set()
    child = Child(program, Ties(watched, held, watched), Report())
    task = asyncio.create_task(child.supervise(ready))
    try:
        yield child, task
    finally:
        child.kill()
        await asyncio.gather(task, return_exceptions=True)
        os.close(watched)
        os.close(held)


COUNT = "import sys, time; open(sys.argv[1], 'a').write('x');"


async def test_a_process_that_ends_is_started_again(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    async with supervised(tmp_path, COUNT + "sys.exit(1)", serving=True):
        await until(lambda: lives.exists() and len(lives.read_text()) >= 3, what="three lives")


async def test_stop_ends_the_pause_before_a_restart(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    async with supervised(tmp_path, COUNT + "sys.exit(1)", serving=True) as (child, task):
        await until(lambda: lives.exists() and len(lives.read_text()) >= 3, what="three lives")
        child.stop()
        await asyncio.wait_for(task, 2)  # its pause would be longer by now


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("sys.stderr.write('error: no\\n'); sys.exit(1)", StartError, "^no$"),
        ("sys.stderr.write('error: bad key\\n'); sys.exit(3)", ConfigError, "^bad key$"),
        ("sys.exit(7)", StartError, "exit code 7: it said nothing; its log is"),
    ],
)
async def test_a_first_start_that_fails_says_why(
    tmp_path: Path, code: str, kind: type[BatchServerError], words: str
) -> None:
    async with supervised(tmp_path, COUNT + code, serving=False) as (_, task):
        with pytest.raises(kind, match=words):
            await asyncio.wait_for(task, 10)


def test_a_folder_has_one_launcher(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    with (
        claimed(folder, lambda: None),
        pytest.raises(StartError, match="another vllm-batch"),
        claimed(folder, lambda: None),
    ):
        pass
    with claimed(folder, lambda: None):
        pass


def test_a_folder_waits_for_the_services_of_a_killed_launcher(tmp_path: Path) -> None:
    """Race: the next launcher starts while the services of the last one still drain."""
    folder = DataFolder(tmp_path / "data")
    with claimed(folder, lambda: None) as lock:
        service = os.dup(lock)  # as a child process holds it
    told: list[str] = []

    def waiting() -> None:
        told.append("waiting")
        os.close(service)  # now it leaves

    with claimed(folder, waiting):
        assert told == ["waiting"]
