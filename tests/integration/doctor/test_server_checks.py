"""NATS, database, blob store and gateway, each in the ways in which it can be wrong."""

import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from batch_cli.doctor import nats as nats_check
from batch_cli.doctor.blobs import look_at_blobs
from batch_cli.doctor.database import look_at_database
from batch_cli.doctor.finding import Finding
from batch_cli.doctor.nats import look_at_nats
from batch_cli.doctor.place import Place
from batch_cli.doctor.runners import look_at_runners
from batch_cli.nats_server import find_server
from batch_cli.standalone.folder import DataFolder
from batch_common import clock
from batch_common.config import Blobs, Config, Database, Gateway, Nats
from batch_common.db import Database as Db
from batch_common.secret import Secret
from support.nats_process import NatsProcess
from support.ports import free_port
from support.wait import until

NOBODY = "127.0.0.1:9"


def place(tmp_path: Path, **sections: object) -> Place:
    config = Config(data_dir=str(tmp_path), **sections)  # type: ignore[arg-type]
    folder = DataFolder(tmp_path)
    return Place(config=config, folder=folder, standalone=False, running=False, engine="sim")


def statuses(found: list[Finding]) -> list[str]:
    return [finding.status for finding in found]


@pytest.fixture(autouse=True)
def monitor_port(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_port()
    monkeypatch.setattr(nats_check, "MONITOR_PORT", port)
    return port


@asynccontextmanager
async def nats_server(folder: Path, more: str) -> AsyncIterator[Nats]:
    port = free_port()
    config = folder / "own.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\n{more}\n')
    process = subprocess.Popen(
        [find_server(Nats()), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    probe = NatsProcess(folder)
    probe.port = port
    try:
        await until(probe._answers, what="nats-server")
        yield Nats(url=Secret(f"nats://127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(("sync", "status"), [("sync_interval: always", "ok"), ("", "warn")])
async def test_whether_jetstream_is_durable_is_asked_of_the_monitoring_port(
    tmp_path: Path, monitor_port: int, sync: str, status: str
) -> None:
    store = f'jetstream {{ store_dir: "{tmp_path}/js"\n {sync} }}'
    async with nats_server(tmp_path, f'http: "127.0.0.1:{monitor_port}"\n{store}') as settings:
        found = await look_at_nats(place(tmp_path, nats=settings))
    assert statuses(found) == ["ok", status]
    assert status == "ok" or "sync_interval: always" in found[1].fix


async def test_a_server_without_a_monitoring_port_leaves_it_open(
    tmp_path: Path, nats_process: NatsProcess
) -> None:
    found = await look_at_nats(place(tmp_path, nats=nats_process.settings))
    assert statuses(found) == ["ok", "warn"]
    assert re.fullmatch(r"nats-server \d+\.\d+\.\d+ answers", found[0].says)


async def test_a_server_without_jetstream(tmp_path: Path) -> None:
    async with nats_server(tmp_path, "") as settings:
        found = await look_at_nats(place(tmp_path, nats=settings))
    assert statuses(found) == ["ok", "fail"]
    assert "JetStream is off" in found[1].says


async def test_a_server_that_does_not_let_us_in(tmp_path: Path) -> None:
    users = "authorization { user: them, password: theirs }"
    async with nats_server(tmp_path, users) as settings:
        ours = msgspec.structs.replace(settings, user="us", password=Secret("hunter2"))
        [finding] = await look_at_nats(place(tmp_path, nats=ours))
    assert finding.status == "fail"
    assert "refuses our credentials" in finding.says
    assert "hunter2" not in repr(finding)


async def test_no_server_at_all(tmp_path: Path) -> None:
    nobody = Nats(url=Secret(f"nats://user:hunter2@{NOBODY}"))
    [finding] = await look_at_nats(place(tmp_path, nats=nobody))
    assert finding.status == "fail"
    assert "hunter2" not in repr(finding)


async def test_before_up_the_program_is_looked_at(tmp_path: Path) -> None:
    standalone = msgspec.structs.replace(place(tmp_path), standalone=True)
    [finding] = await look_at_nats(standalone)
    assert (finding.status, "nats-server 2." in finding.says) == ("ok", True)
    wrong = place(tmp_path, nats=Nats(server="/no/such/server"))
    [finding] = await look_at_nats(msgspec.structs.replace(wrong, standalone=True))
    assert finding.status == "fail"


@pytest.mark.parametrize(("version", "status"), [("2.9.25", "fail"), ("2.10.0", "ok")])
def test_an_old_server_is_too_old(version: str, status: str) -> None:
    assert nats_check._judged(version, "it").status == status


async def test_a_database_at_this_release(
    tmp_path: Path, database: Db, database_settings: Database
) -> None:
    found = await look_at_database(place(tmp_path, database=database_settings))
    assert set(statuses(found)) == {"ok"}
    assert found[0].check == "database"
    assert (len(found) == 2) is not database.is_sqlite, "SQLite has this machine's clock"


@pytest.mark.parametrize(("revision", "status"), [("0001", "warn"), ("9999", "fail")])
async def test_a_database_of_another_release(
    tmp_path: Path, database: Db, database_settings: Database, revision: str, status: str
) -> None:
    async with database.write("test") as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    found = await look_at_database(place(tmp_path, database=database_settings))
    assert found[0].status == status


async def test_an_empty_database_is_fine(tmp_path: Path, postgres_url: str) -> None:
    found = await look_at_database(place(tmp_path, database=Database(url=Secret(postgres_url))))
    assert set(statuses(found)) == {"ok"}
    sqlite = await look_at_database(place(tmp_path))
    assert statuses(sqlite) == ["ok"]
    assert not (tmp_path / "batches.db").exists()


async def test_a_clock_that_is_off(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now - 100)
    found = await look_at_database(place(tmp_path, database=Database(url=Secret(postgres_url))))
    assert statuses(found) == ["ok", "warn"]
    assert "s behind the database's" in found[1].says


async def test_a_database_that_does_not_answer_keeps_its_password(tmp_path: Path) -> None:
    nobody = Database(url=Secret(f"postgresql://me:hunter2@{NOBODY}/batch"))
    [finding] = await look_at_database(place(tmp_path, database=nobody))
    assert finding.status == "fail"
    assert "hunter2" not in repr(finding)


async def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    options = {
        "endpoint": f"http://{NOBODY}", "access_key_id": "me", "secret_access_key": "hunter2",
        "region": "eu", "allow_http": "true",
    }  # fmt: skip
    blobs = Blobs(url="s3://bucket/prefix", options={k: Secret(v) for k, v in options.items()})
    [finding] = await look_at_blobs(place(tmp_path, blobs=blobs))
    assert finding.status == "fail"
    assert "hunter2" not in repr(finding)
    assert await look_at_blobs(place(tmp_path)) == []


def test_no_gateway(tmp_path: Path) -> None:
    found = look_at_runners(place(tmp_path, gateway=Gateway(port=free_port())))
    assert statuses(found) == ["warn"]
    assert look_at_runners(msgspec.structs.replace(place(tmp_path), standalone=True)) == []
