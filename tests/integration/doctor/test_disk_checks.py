"""The data folder, and ports."""

import socket
from pathlib import Path

import msgspec
import pytest

from batch_cli.doctor import disk
from batch_cli.doctor.disk import file_system, look_at_disk
from batch_cli.doctor.hub import Hub
from batch_cli.doctor.listening import look_at_ports
from batch_cli.doctor.memory import look_at_memory
from batch_cli.doctor.models import look_at_models
from batch_cli.doctor.place import Place, find_place
from batch_cli.standalone.folder import DataFolder, claimed
from batch_cli.standalone.settings import Flags
from batch_common.config import Config, Gateway, Runner
from support.fake_nvml import FakeNvml


@pytest.fixture
def place(tmp_path: Path) -> Place:
    config = Config(data_dir=str(tmp_path / "data"), gateway=Gateway(port=0))
    folder = DataFolder(tmp_path / "data")
    return Place(config=config, folder=folder, standalone=True, running=False, engine="sim")


def test_a_folder_that_is_not_there_yet_is_looked_at_above(place: Place) -> None:
    assert [finding.status for finding in look_at_disk(place)] == ["ok", "ok"]
    assert not place.folder.root.exists()
    assert list(place.folder.root.parent.iterdir()) == []


def test_little_room_and_slow_disks_are_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 3 << 30})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda *_: usage)
    monkeypatch.setattr(disk, "sync_s", lambda *_: 0.2)
    assert [finding.status for finding in look_at_disk(place)] == ["warn", "warn"]
    usage.free = 1 << 20
    assert look_at_disk(place)[0].status == "fail"


def test_a_folder_that_is_a_file(place: Place) -> None:
    place.folder.root.write_text("here first")
    assert look_at_disk(place)[0].status == "fail"


def test_sqlite_on_a_network_file_system(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "file_system", lambda *_: "nfs4")
    assert look_at_disk(place)[-1].status == "fail"
    assert "Postgres" in look_at_disk(place)[-1].fix


def test_the_closest_mount_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nhost:/x /data/my\\040share nfs4 rw 0 0\n")
    assert file_system(Path("/data/my share/deep"), mounts) == "nfs4"
    assert file_system(Path("/data"), mounts) == "ext4"
    assert file_system(Path("/data"), tmp_path / "none") == ""


def test_a_port_that_is_taken(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = msgspec.structs.replace(place.config, gateway=Gateway(port=port))
        [finding] = look_at_ports(msgspec.structs.replace(place, config=config))
    assert finding.status == "fail"
    assert str(port) in finding.says
    assert "--port" in finding.fix
    assert look_at_ports(place)[0].status == "ok"


def test_a_running_installation_is_known_by_its_lock(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), runner=Runner(engine="sim"))
    assert not find_place(config, standalone=True).running
    folder = DataFolder(tmp_path)
    with claimed(folder, lambda: None):
        folder.config.write_text("gateway: {port: 8123}\nrunner: {engine: sim}\n")
        found = find_place(config, standalone=True)
        assert found.running
        assert found.config.gateway.port == 8123
        assert not found.asked
        assert not find_place(config, standalone=False).running
    assert not find_place(config, standalone=True).running


def test_what_flags_ask_is_looked_at_beside_one_that_runs(tmp_path: Path) -> None:
    """Else a running `up` of another model makes the one asked about look fine."""
    flags = Flags(engine="vllm", models=("/no/such/model",), port=9)
    config = Config(data_dir=str(tmp_path), runner=Runner(engine="vllm", models=flags.models))
    folder = DataFolder(tmp_path)
    with claimed(folder, lambda: None):
        folder.config.write_text("gateway: {port: 8123}\nrunner: {engine: sim}\n")
        found = find_place(config, standalone=True, flags=flags)
    assert (found.running, found.asked, found.engine) == (True, True, "vllm")
    assert found.config.runner.models == flags.models
    [port] = look_at_ports(found)
    assert port.status == "warn"
    assert port.says.endswith("8123: --port not looked at")
    [memory] = look_at_memory(found, FakeNvml(), {})
    assert (memory.status, "was not looked at" in memory.says) == ("warn", True)
    [model], _ = look_at_models(found, Hub({}))
    assert model.status == "fail"
