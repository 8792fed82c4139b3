"""Fixed seeds of the chaos harness, and two faults alone, held to the figures we promise."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.batch_plan import BATCH_KINDS
from chaos.faults import faults_for, kinds_in
from chaos.faults.nats import LoseStore
from chaos.one_batch import OneBatch
from chaos.request_log import read_served
from chaos.run import Settings, run_chaos
from chaos.system import ACK_WAIT_S, FLUSH_S, WINDOW, Options, System, features, running

pytestmark = pytest.mark.timeout(600)

RATE = 20
# Answered since the last flush: twice the interval, for a slow disk.
UNSAVED = WINDOW + RATE * 2 * FLUSH_S
# An engine outlives its runner by a moment, and the runner's successor comes much later.
GONE_S = 3.0
StartSystem = Callable[..., Awaitable[System]]


# Every kind of fault strikes in one of the runs: these are the modules that list them.
RUNS = {
    "processes": ("sqlite", "single", 1, ("signals", "nats")),
    "points": ("postgres", "single", 2, ("points", "databases", "repeats")),
    "network and engines": ("sqlite", "single", 3, ("network", "engine", "databases")),
    "cluster": ("postgres", "cluster", 4, ("cluster",)),
}
EACH_S = 2.5


def slow_first(run: str) -> Any:
    """One of the runs is in the slow tier; all the others are long."""
    return pytest.param(run, marks=pytest.mark.slow if run == "processes" else pytest.mark.faults)


# A window of a minute is waited for in one of the runs.
QUICK = tuple(kind for kind in BATCH_KINDS if kind != "expiring")


@pytest.mark.parametrize("run", [slow_first(run) for run in RUNS])
async def test_nothing_is_lost_or_done_twice_under_faults(run: str, tmp_path: Path) -> None:
    database, nats, seed, modules = RUNS[run]
    faults = faults_for(features(database, nats), kinds_in(*modules))
    settings = Settings(
        folder=tmp_path,
        seed=seed,
        seconds=max(25.0, EACH_S * len(faults)),
        database=database,
        nats=nats,
        faults=tuple(faults),
        batches=() if run == "processes" else QUICK,
        every_s=EACH_S * 0.9,
    )
    report = await run_chaos(settings)
    print(report.text())
    assert report.violations == []
    assert [kind for kind in faults if not report.fired[kind]] == []


@pytest.fixture
async def start_system(tmp_path: Path) -> AsyncIterator[StartSystem]:
    """`await start_system("sqlite", roles=…)`: with engines of RATE requests a second."""
    leaving: list[Any] = []

    async def start(database: str, **options: Any) -> System:
        engine = {"requests_per_s": str(RATE)}
        system = System(Options(folder=tmp_path, database=database, engine=engine, **options))
        leaving.append(running(system))
        return await leaving[-1].__aenter__()

    yield start
    for one in leaving:
        await one.__aexit__(None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_work_goes_on_soon_after_a_runner_was_killed(
    database: str, start_system: StartSystem
) -> None:
    # Each runner holds one large chunk.
    scheduler = {"chunk_first_requests": 200, "chunk_max_requests": 200, "chunk_target_s": 60}
    system = await start_system(database, settings={"scheduler": scheduler})
    batch = OneBatch(system, 120)
    await batch.hand_in()
    await batch.computed(50)
    killed, survivor = system.roles_of("runner")
    killed_at = time.time()
    killing = asyncio.create_task(system.kill(killed, down_s=20))
    await batch.completed()
    resumed_s = resumed_at(system, killed, survivor, killed_at) - killed_at
    served = batch.served()
    share = served.repeated / len(served.counted)
    print(f"killed runner: {served.repeated} requests computed again ({share:.1%}), work went on")
    print(f"after {resumed_s:.1f} s, with an ack_wait of {ACK_WAIT_S:.0f} s")
    assert served.repeated <= UNSAVED
    assert resumed_s <= ACK_WAIT_S + 5
    await killing


def resumed_at(system: System, killed: str, survivor: str, killed_at: float) -> float:
    """When the line was answered that came next where the killed runner's engine had ended."""
    own = read_served([system.request_log(killed)]).answers
    _, last = max(answer for answer in own if answer[0] < killed_at + GONE_S)
    batch, _, line = last.partition("-")
    answers = read_served([system.request_log(survivor)]).answers
    return min(at for at, mark in answers if mark == f"{batch}-{int(line) + 1}")


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [0.5, 6.0], ids=["at once", "longer than claims last"])
async def test_a_lost_jetstream_directory_costs_what_was_not_saved(
    away_s: float, start_system: StartSystem
) -> None:
    system = await start_system("sqlite")
    batch = OneBatch(system, 400)
    await batch.hand_in()
    await batch.computed(120)
    assert await LoseStore(away_s).strike(system, random.Random(1))
    await batch.completed()
    served = batch.served()
    print(f"lost store: {served.repeated} of {len(served.counted)} requests computed again")
    assert served.repeated <= UNSAVED * len(system.roles_of("runner"))
