"""`vllm-batch up` from its start to its end, and what it says when it cannot start."""

import asyncio
import signal
import socket
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command_line import begin, family, living, processes_of, vllm_batch
from support.standalone import SERVICES, Standalone
from support.wait import until

SIM = ("--engine", "sim", "--model", "sim=sim")


def up(folder: Path, *arguments: str) -> tuple[str, ...]:
    return ("up", "--data-dir", str(folder), "--port", "0", *arguments)


def assert_one_line(errors: str, *words: str) -> None:
    """Progress apart, standard error holds one line, and it has the words."""
    lines = [line for line in errors.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


async def test_sigterm_leaves_in_time_and_leaves_nobody(
    own_system: Callable[..., Standalone],
) -> None:
    system = own_system()
    assert set(system.roles()) >= {*SERVICES, "nats-server"}
    children = family(system._popen.pid)
    began = time.monotonic()
    assert system.stop() == 0
    assert time.monotonic() - began < 30
    assert living(children) == []


async def test_a_killed_launcher_leaves_nobody_and_the_folder_free(
    own_system: Callable[..., Standalone],
) -> None:
    system = own_system()
    children = family(system._popen.pid)
    assert system.stop(signal.SIGKILL) == -signal.SIGKILL
    again = own_system()  # at once: it waits for those that still leave
    assert living(children) == []
    assert again.stop() == 0


async def test_a_second_signal_ends_everything_at_once(
    own_system: Callable[..., Standalone],
) -> None:
    system = own_system()
    children = family(system._popen.pid)
    system._popen.send_signal(signal.SIGINT)
    await asyncio.sleep(0.2)  # two signals in one instant are one to the kernel
    code = system.stop(signal.SIGINT)
    assert code in {0, 128 + signal.SIGINT}
    await until(lambda: not living(children), within_s=12, what="the end of all processes")
    said = system.said()
    assert "stopping: work in progress is handed back" in said
    assert ("ending at once" in said) == (code != 0)


async def test_an_engine_that_dies_is_told_of(own_system: Callable[..., Standalone]) -> None:
    system = own_system()
    before = system.said()
    assert "loading sim with sim" in before
    assert "served again" not in before
    system.send("engine")
    await until(lambda: "sim is served again" in system.said(), within_s=30, what="the news")
    assert "the engine died and is started again: " in system.said()


async def test_a_service_that_dies_is_started_again(own_system: Callable[..., Standalone]) -> None:
    system = own_system()
    for role in ("gateway", "sinks"):
        killed = system.send(role)
        await until(
            lambda r=role, k=killed: system.pid(r) != k, within_s=20, what=f"another {role}"
        )


async def test_what_is_written_is_for_the_owner_alone(
    own_system: Callable[..., Standalone],
) -> None:
    folder = own_system().folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("config.yml", "nats.conf", "nats.url"):
        assert stat.S_IMODE((folder / "run" / name).stat().st_mode) == 0o600


def test_two_on_one_folder(own_system: Callable[..., Standalone]) -> None:
    system = own_system()
    second = vllm_batch(*up(system.folder, *SIM))
    assert second.returncode == 1
    assert_one_line(second.stderr, "another vllm-batch uses the data folder", "--data-dir")


def test_a_port_taken(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = vllm_batch("up", "--data-dir", str(tmp_path / "d"), "--port", str(port), *SIM)
    assert done.returncode == 1
    assert_one_line(done.stderr, f"port {port} on 127.0.0.1 is taken", "--port")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--prot", "1"), 2, ("unknown argument --prot", "did you mean --port?", "--help")),
        (("-o", "novalue"), 2, ("'novalue' is not of the form key=value",)),
        (("--engine", "abacus"), 2, ("invalid choice: 'abacus'",)),
        (("--engine", "sim", "-o", "colour=red"), 3, ("no option 'colour'", "requests_per_s")),
        (("--engine", "llamacpp", "--model", "/no/such.gguf"), 3, ("does not exist",)),
        (("--engine", "sim", "--host", "0.0.0.0"), 3, ("gateway.api_keys",)),  # noqa: S104
    ],
)
def test_a_wrong_command_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    done = vllm_batch(*up(tmp_path / "d", *arguments))
    assert done.returncode == code
    assert done.stdout == ""
    assert_one_line(done.stderr, *words)
    assert not (tmp_path / "d").exists()


def test_an_unknown_config_key(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("gateway: {prot: 1}\n")
    done = vllm_batch(*up(tmp_path / "d", *SIM, "--config", str(config)))
    assert done.returncode == 3
    assert_one_line(done.stderr, str(config), "prot")


def test_a_data_folder_of_a_newer_version(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with sqlite3.connect(folder / "batches.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    done = vllm_batch(*up(folder, *SIM))
    assert done.returncode == 1
    assert_one_line(done.stderr, "'9999'", "newer release")
    assert processes_of(folder) == []


def test_an_engine_that_dies_at_start(tmp_path: Path) -> None:
    model = tmp_path / "broken.gguf"
    model.write_bytes(b"GGUF, but no model")
    done = vllm_batch(*up(tmp_path / "d", "--engine", "llamacpp", "--model", str(model)))
    assert done.returncode == 1
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert said[0].startswith("error: ")
    assert "broken" in done.stderr
    assert processes_of(tmp_path / "d") == []


async def test_a_signal_while_it_starts(tmp_path: Path) -> None:
    process = begin(*up(tmp_path / "d", *SIM), errors=tmp_path / "errors")
    await until(lambda: bool(processes_of(tmp_path / "d" / "run")), what="a first child")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=35)
    assert (process.returncode, out) == (0, "")
    assert processes_of(tmp_path / "d") == []


def test_a_service_without_its_configuration(tmp_path: Path) -> None:
    for service in SERVICES:
        missing = vllm_batch(service, "--config", str(tmp_path / "none.yml"))
        assert missing.returncode == 3
        assert_one_line(missing.stderr, "cannot read", "check --config")
