"""Pure decisions of the launcher."""

from pathlib import Path

import pytest

from batch_cli.standalone.folder import DataFolder, write_private
from batch_cli.standalone.last_error import last_error
from batch_cli.standalone.programs import gpu_groups, service_programs
from batch_cli.standalone.readiness import base_url
from batch_cli.standalone.restart import MAX_DELAY_S, Again, GiveUp, after_exit
from batch_cli.standalone.settings import Flags, effective, nats_port, write_settings
from batch_common.config import Config, Gateway, Metrics, Nats, Runner
from batch_common.config_file import load_config
from batch_common.errors import ConfigError
from batch_common.secret import ApiKeys, Secret


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_what_ends_before_the_system_serves_ends_it(code: int) -> None:
    assert after_exit(code, serving=False, short_lives=1) == GiveUp()


def test_a_wrong_configuration_is_never_tried_again() -> None:
    assert after_exit(3, serving=True, short_lives=1) == GiveUp()


def test_a_killed_process_is_started_again_also_at_first() -> None:
    assert after_exit(-9, serving=False, short_lives=1) == Again(0.5)
    assert after_exit(-9, serving=False, short_lives=4) == GiveUp()


def test_pauses_grow_to_a_limit() -> None:
    pauses = [after_exit(1, serving=True, short_lives=n) for n in range(1, 12)]
    assert pauses[:3] == [Again(0.5), Again(1.0), Again(2.0)]
    assert pauses[-1] == Again(MAX_DELAY_S)


def test_the_last_error_of_this_life(tmp_path: Path) -> None:
    log = tmp_path / "log"
    old = 'error: an old one\n{"event": "start"}\n'
    log.write_text(old)
    assert last_error(log, len(old)) == ""
    log.write_text(old + '{"event": "x"}\nerror: no engine\nits own words\n{"event": "y"}\n')
    assert last_error(log, len(old)) == "no engine\nits own words"
    log.write_text("Traceback\nValueError: odd\n\n")
    assert last_error(log, 0) == "ValueError: odd"
    assert last_error(tmp_path / "none", 0) == ""


def test_runners_share_the_gpus() -> None:
    def visible(environ: dict[str, str], gpus: int, runners: int) -> list[str | None]:
        groups = gpu_groups(environ, gpus, runners)
        return [group.get("CUDA_VISIBLE_DEVICES") for group in groups]

    assert visible({}, 4, 2) == ["0,1", "2,3"]
    assert visible({}, 2, 2) == ["0", "1"]
    assert visible({"CUDA_VISIBLE_DEVICES": "3,5,6"}, 8, 2) == ["3", "5"]
    assert visible({}, 8, 1) == [None]
    assert visible({}, 0, 3) == [None, None, None]


def test_flags_go_before_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("gateway: {port: 1, drain_s: 5}\nrunner: {options: {a: '1', b: '2'}}\n")
    flags = Flags(port=0, options=(("b", "3"),), models=("m=x",))
    config = load_config(file, {"VLLM_BATCH_GATEWAY__PORT": "2"}, flags.overrides())
    assert (config.gateway.port, config.gateway.drain_s) == (0, 5)
    assert config.runner.options == {"a": "1", "b": "3"}
    assert config.runner.models == ("m=x",)
    assert Flags().overrides() == {}


def test_another_machines_nats_is_refused() -> None:
    assert nats_port(Nats()) == 4222
    assert nats_port(Nats(url=Secret("nats://localhost:4333"))) == 4333
    assert nats_port(Nats(url=Secret("nats://127.0.0.1:0"))) == 0
    for url in ("nats://nats:4222", "nats://127.0.0.1:1,nats://127.0.0.1:2"):
        with pytest.raises(ConfigError, match="starts its own"):
            nats_port(Nats(url=Secret(url)))


def make_folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    return folder


def test_services_read_what_was_written(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    config = Config(
        gateway=Gateway(api_keys=ApiKeys({"sk-1": "acme"})), runner=Runner(options={"o": "a=b"})
    )
    ours = effective(config, folder, port=8123, nats=4555)
    write_settings(ours, folder)
    assert load_config(folder.config, {}) == ours
    password = (folder.root / "nats.password").read_text()
    assert folder.nats_url.read_text() == f"nats://vllm-batch:{password}@127.0.0.1:4555\n"
    assert effective(config, folder, port=1, nats=2).nats.password == ours.nats.password


def test_a_configured_nats_user_is_kept(tmp_path: Path) -> None:
    config = Config(nats=Nats(user="me", password=Secret("p@ss")))
    ours = effective(config, make_folder(tmp_path), port=1, nats=2)
    assert (ours.nats.user, ours.nats.password.reveal()) == ("me", "p@ss")


def test_settings_of_the_environment_reach_services_by_the_file_alone(tmp_path: Path) -> None:
    environ = {"VLLM_BATCH_NATS__URL": "nats://elsewhere", "HF_TOKEN": "t", "PATH": "/bin"}
    config = Config(metrics=Metrics(port=9000))
    programs = service_programs(config, make_folder(tmp_path), 2, environ)
    assert [p.name for p in programs] == ["scheduler", "gateway", "runner-1", "runner-2", "sinks"]
    for port, program in zip((9000, 9001, 9003, 9004, 9002), programs, strict=True):
        assert "VLLM_BATCH_NATS__URL" not in program.environment
        assert program.environment["HF_TOKEN"] == "t"
        assert program.environment["VLLM_BATCH_METRICS__PORT"] == str(port)
    folders = {p.environment.get("VLLM_BATCH_RUNNER__STATE_DIR") for p in programs if p.is_runner}
    assert len(folders) == 2


def test_a_private_file_replaces_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_address_that_clients_are_given() -> None:
    assert base_url("127.0.0.1", 8000) == "http://127.0.0.1:8000/v1"
    assert base_url("0.0.0.0", 80) == "http://127.0.0.1:80/v1"  # noqa: S104
    assert base_url("::1", 80) == "http://[::1]:80/v1"
