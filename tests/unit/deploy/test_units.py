"""The systemd units: what systemd says of them, and whether they fit what else is shipped."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from batch_common.config_file import load_config
from support.units import SERVICES, UNITS, environment, settings

OURS = ("gateway", "scheduler", "sinks", "runner@")
# As `systemd-analyze security` counts: 0 is nothing to attack, 10 no protection at all.
EXPOSURE = {"vllm-batch-runner@.service": 4.0}
_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    _ANALYZE is None, reason="there is no systemd-analyze here: apt-get install systemd"
)


def _unit(name: str) -> Path:
    return UNITS / f"vllm-batch-{name}.service"


def _analyze(*arguments: str | Path, units: Path) -> subprocess.CompletedProcess[str]:
    assert _ANALYZE is not None
    return subprocess.run(
        [_ANALYZE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """Programs that are not installed here are put in the place of those it would look for."""
    for unit in (*SERVICES, UNITS / "vllm-batch.target"):
        text = unit.read_text("utf-8").replace("/opt/vllm-batch/bin/", f"{tmp_path}/")
        name = unit.name.replace("@.", "@0.")
        (tmp_path / name).write_text(text, "utf-8")
    for program in ("vllm-batch", "nats-server"):
        (tmp_path / program).touch(0o755)
    found = _analyze("verify", *sorted(tmp_path.glob("vllm-batch*.*")), units=tmp_path)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_a_mistake(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n", "utf-8")
    assert "ProtectSytem" in _analyze("verify", unit, units=tmp_path).stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_little_is_open_to_an_attacker(unit: Path, tmp_path: Path) -> None:
    limit = EXPOSURE.get(unit.name, 2.0)
    threshold = f"--threshold={int(limit * 10)}"
    said = _analyze("security", "--offline=true", "--no-pager", threshold, unit, units=tmp_path)
    assert said.returncode == 0, said.stdout.splitlines()[-1]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_it_comes_back_and_has_time_to_end(unit: Path) -> None:
    found = settings(unit)
    assert found["Restart"] == ["always"]
    assert int(found["TimeoutStopSec"][0]) > 30
    assert int(found["LimitNOFILE"][0]) >= 65536
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["WantedBy"] == ["vllm-batch.target"]
    assert found["PartOf"] == ["vllm-batch.target"]
    [command] = found["ExecStart"]
    assert command.startswith("/opt/vllm-batch/bin/")  # no shell between systemd and the service


@pytest.mark.parametrize("name", OURS)
def test_each_service_understands_its_environment(name: str, installed: Path) -> None:
    given = environment(_unit(name), installed)
    config = load_config(installed / "etc/vllm-batch/config.yml", given)
    assert config.nats.user == name.rstrip("@")
    assert config.nats.url.reveal() == "nats://127.0.0.1:4222"
    assert config.metrics.host == "127.0.0.1"
    assert config.database.url.reveal() == ""
    assert config.data_dir == "/var/lib/vllm-batch"
    assert bool(config.gateway.api_keys) == (name == "gateway")


def test_no_two_listen_on_one_port(installed: Path) -> None:
    given = [environment(_unit(name), installed) for name in OURS]
    given.append(environment(_unit("runner@"), installed, "1"))
    ports = [found["VLLM_BATCH_METRICS__PORT"] for found in given]
    assert ports == ["9464", "9465", "9466", "9470", "9471"]


def test_a_runner_has_the_gpu_of_its_name_and_a_folder_of_its_own(installed: Path) -> None:
    given = environment(_unit("runner@"), installed, "3")
    assert given["CUDA_VISIBLE_DEVICES"] == "3"
    config = load_config(installed / "etc/vllm-batch/config.yml", given)
    assert config.runner.state_dir == "/var/lib/vllm-batch/runner-3"
    (installed / "etc/vllm-batch/runner-3.env").write_text("VLLM_BATCH_RUNNER__MODELS=[other]\n")
    assert environment(_unit("runner@"), installed, "3")["VLLM_BATCH_RUNNER__MODELS"] == "[other]"


def test_the_passwords_are_those_that_the_server_knows(installed: Path) -> None:
    known = environment(_unit("nats"), installed)
    for name in OURS:
        user = name.rstrip("@")
        given = environment(_unit(name), installed)
        assert given["NATS_PASSWORD"] == known[f"NATS_{user.upper()}_PASSWORD"]
    assert len(set(known.values())) == len(known) == 6
    asked = re.findall(r"\$(NATS_\w+)", (UNITS / "../nats/accounts.conf").read_text("utf-8"))
    assert set(asked) == set(known)


def test_secrets_are_for_root_alone_and_are_kept(installed: Path) -> None:
    files = sorted((installed / "etc/vllm-batch").glob("*.env"))
    assert len(files) >= 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    before = (installed / "etc/vllm-batch/nats.env").read_bytes()
    (installed / "etc/vllm-batch/config.yml").write_text("# mine\n")
    subprocess.run(
        ["/bin/sh", UNITS / "install.sh"],
        check=True,
        env={**os.environ, "DESTDIR": str(installed)},
        timeout=30,
    )
    assert (installed / "etc/vllm-batch/nats.env").read_bytes() == before
    assert (installed / "etc/vllm-batch/config.yml").read_text() == "# mine\n"
    assert len(list((installed / "etc/systemd/system").glob("vllm-batch*"))) == 6
