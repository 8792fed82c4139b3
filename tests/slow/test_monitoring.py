"""A real Prometheus scrapes all services under load: rules, dashboards, and every alert."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest
from openai import APIError

from monitoring_files.alerts import alerts
from monitoring_files.files import DASHBOARDS, FOLDER
from monitoring_files.rules import records
from monitoring_files.times import Times
from support.prometheus import UnavailableError, find_prometheus
from support.watched import GHOST, GPU, SIM, TIMES, Alarms, Watched, watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return find_prometheus() / "promtool"
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def system(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One for all tests here, which run in their order: load, then trouble."""
    with watched(tmp_path_factory.mktemp("watched")) as running:
        running.submit(4000, schema="classification")
        running.submit(2000, GPU)
        yield running


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "config", "prometheus.compose.yml"),
        ("check", "rules", "rules/recording.yml", "rules/alerts.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_what_is_shipped(promtool: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(promtool), *arguments], cwd=FOLDER, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_scraped_and_every_rule_loads(system: Watched) -> None:
    until(lambda: set(system.prometheus.targets().values()) == {"up"}, "all targets to be up")
    jobs = sorted(target.split()[0] for target in system.prometheus.targets())
    services = ("gateway", "runner", "runner", "scheduler", "sinks")
    assert jobs == [f"vllm-batch-{name}" for name in services]
    until(
        lambda: all(rule["health"] == "ok" for rule in system.prometheus.rules()),
        "all rules to be evaluated",
    )
    loaded = sorted(rule["name"] for rule in system.prometheus.rules())
    assert loaded == sorted(each.name for each in (*records(Times()), *alerts(Times())))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_query_of_the_dashboards_returns_series_under_load(
    system: Watched, name: str
) -> None:
    silent = [as_grafana_asks(query) for query in DASHBOARDS[name].queries()]
    deadline = time.monotonic() + 60
    while silent and time.monotonic() < deadline:
        silent = [query for query in silent if not system.prometheus.query(query)]
        time.sleep(0.5)
    assert silent == []


def test_a_fault_of_each_kind_fires_its_alert(system: Watched) -> None:
    """Each fault is made for real; ranges and waits are a sixtieth of those shipped."""
    alarms = Alarms(system.prometheus)
    until(lambda: not system.prometheus.firing(), "nothing to fire before anything is wrong")
    system.submit(500, GHOST)
    system.submit(40_000, window="1m")  # the engine does 200 a second
    system.submit(1, GPU, prompt="POISON")
    system.gpu(temperature_c=88)
    alarms.until("VllmBatchNoRunner", model=GHOST, within_s=60)
    alarms.until("VllmBatchDeadlineAtRisk", model=SIM, within_s=60)
    alarms.until("VllmBatchGpuDegraded", gpu="0", within_s=60)
    alarms.until("VllmBatchRequestKillsEngine", model=GPU, code="engine_crashed", within_s=60)
    system.gpu(temperature_c=95)
    asyncio.run(purge_chunks(system))
    system.order("status", status=400, rate=0.5)
    alarms.until("VllmBatchGpuCritical", gpu="0", within_s=60)
    alarms.until("VllmBatchChunksRepaired", within_s=60)
    alarms.until("VllmBatchRequestsFailing", model=SIM, within_s=60)
    system.order("none")
    system.submit(30_000)
    with system.blobs_away(), repeatedly(lambda: upload(system)):
        alarms.until("VllmBatchResultsNotSaved", "VllmBatchApiErrors", within_s=60)
    system.order("hang")
    with repeatedly(lambda: hold_database(system)):
        alarms.until("VllmBatchDatabaseSlow", within_s=60)
    with system.suspended("gateway"):
        alarms.until("VllmBatchServiceDown", job="vllm-batch-gateway", within_s=30)
    with repeatedly(lambda: pause(system)):
        alarms.until("VllmBatchEventLoopBlocked", job="vllm-batch-gateway", within_s=60)
    alarms.until("VllmBatchStalled", model=SIM, within_s=60)
    runner = system.instance("runner")
    system.order("no_start")
    system.kill_engine()
    alarms.forget("VllmBatchOutboxStuck")  # while the database was held nothing was sent either
    with system.suspended("nats-server"):
        alarms.until("VllmBatchNatsDown", job="vllm-batch-scheduler", within_s=60)
        alarms.until("VllmBatchNoScheduler", "VllmBatchOutboxStuck", within_s=60)
        alarms.until("VllmBatchEngineDown", instance=runner, within_s=60)
        alarms.until("VllmBatchEngineRestarting", instance=runner, within_s=60)
        alarms.until("VllmBatchWorkFailing", work="relay", within_s=90)
    alarms.until("VllmBatchDeliveriesLate", sink="webhook", within_s=60)
    alarms.until("VllmBatchDeliveriesGivenUp", sink="webhook", within_s=60)
    assert alarms.names == {alert.name for alert in alerts(TIMES)}


def as_grafana_asks(query: str) -> str:
    """With its variables filled in, for everything."""
    query = query.replace("$__rate_interval", "15s")
    return re.sub(r"\$(?:model|runner|sink)\b", ".*", query)


def until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)


@contextlib.contextmanager
def repeatedly(act: Callable[[], None]) -> Iterator[None]:
    """Does it again and again beside the block."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def purge_chunks(system: Watched) -> None:
    """The messages of chunks are gone, as after the loss of the store."""
    connection = await nats.connect(system.nats_url())
    await connection.jetstream().purge_stream("CHUNKS")
    await connection.close()


def upload(system: Watched) -> None:
    with contextlib.suppress(APIError):
        system.client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
    time.sleep(0.3)


def hold_database(system: Watched) -> None:
    """Nobody else writes for a while."""
    with contextlib.closing(sqlite3.connect(system.folder / "data" / "batches.db")) as database:
        database.isolation_level = None
        with contextlib.suppress(sqlite3.OperationalError):
            database.execute("BEGIN IMMEDIATE")
            time.sleep(2.5)
            database.execute("ROLLBACK")
    time.sleep(0.2)


def pause(system: Watched) -> None:
    """A machine that gives the gateway too little CPU."""
    with system.suspended("gateway"):
        time.sleep(2.5)
    time.sleep(1.2)
