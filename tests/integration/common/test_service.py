"""A service as a process: signals, exit codes, a parent that dies, logs, metrics."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from batch_common.service import PARENT_VARIABLE
from support.ports import free_port

START = """
import asyncio, sys, threading
from batch_common import leaving
from batch_common.config import Config, Log, Metrics
from batch_common.errors import ConfigError, StartError
from batch_common.logs import get_log
from batch_common.service import run_service
from batch_common.tasks import Tasks

log = get_log("here")

async def drain(config, stop):
    print("up", flush=True)
    await stop.wait()
    print("drained", flush=True)

async def hang(config, stop):
    print("up", flush=True)
    await asyncio.Event().wait()

async def hang_in_a_thread(config, stop):
    print("up", flush=True)
    await stop.wait()
    await asyncio.to_thread(threading.Event().wait)

async def misconfigured(config, stop):
    raise ConfigError("x.y is wrong: set it right")

async def unstartable(config, stop):
    raise StartError("port 1 is taken: choose another")

async def broken(config, stop):
    async with Tasks(stop) as tasks:
        tasks.spawn("heartbeat", die())
        await stop.wait()

async def die():
    raise LookupError("a bug")

async def talk(config, stop):
    log.debug("hidden")
    log.info("shown", answer=42)

if sys.argv[1] == "hang_in_a_thread":
    leaving._DRAIN_S, leaving._MARGIN_S = 0.3, 0.2
run = globals()[sys.argv[1]]
config = Config(metrics=Metrics(port=int(sys.argv[2])), log=Log(format=sys.argv[3]))
sys.exit(run_service("here", config, run))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(
            run: str, *, metrics: int = 0, logs: str = "json", **environ: str
        ) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", START, run, str(metrics), logs],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environ},
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield begin


def wait_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(start: Start, number: signal.Signals) -> None:
    process = start("drain")
    wait_up(process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "drained\n")
    assert f'"signal": "{number.name}"' in errors


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    process = start("hang")
    wait_up(process)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGINT


def test_what_cannot_be_cancelled_does_not_keep_it(start: Start) -> None:
    """A thread that waits for a lock or a dead disk; the interpreter would wait for it, too."""
    process = start("hang_in_a_thread")
    wait_up(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    late = json.loads(errors.splitlines()[-1])
    assert (late["event"], late["after_s"]) == ("leaves_late", 0.5)
    assert len(late["threads"]) == 2  # ours, and the one that hangs


@pytest.mark.parametrize(
    ("run", "code", "line"),
    [
        ("misconfigured", 3, "error: x.y is wrong: set it right\n"),
        ("unstartable", 1, "error: port 1 is taken: choose another\n"),
    ],
)
def test_errors_are_one_line_and_a_code(start: Start, run: str, code: int, line: str) -> None:
    process = start(run)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (code, "", line)


def test_a_bug_ends_it_loudly(start: Start) -> None:
    process = start("broken")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    [died] = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert (died["event"], died["task"], died["level"]) == ("task_died", "heartbeat", "error")
    assert "LookupError: a bug" in died["exception"]
    assert "Traceback" in errors


PARENT = """
import os, subprocess, sys
os.environ[sys.argv[1]] = str(os.getpid())
process = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]])
print(process.pid, flush=True)
process.wait()
"""


def test_a_killed_parent_takes_its_services_with_it() -> None:
    """A supervisor under SIGKILL cannot tell its services to leave."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, PARENT_VARIABLE, START, "drain", "0", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        child = int(output.readline())
        assert output.readline() == "up\n"
        os.kill(child, 0)
        parent.kill()
        parent.wait(10)
        assert output.readline() == "drained\n"
        assert output.readline() == "", "the service has closed its output: it is gone"


def test_a_service_with_another_parent_does_not_stay(start: Start) -> None:
    """Race: the supervisor died before the service looked for it."""
    process = start("drain", **{PARENT_VARIABLE: "1"})
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "up\ndrained\n")


def test_logs_are_json_on_standard_error(start: Start) -> None:
    output, errors = start("talk").communicate(timeout=20)
    assert output == ""
    [record] = [json.loads(line) for line in errors.splitlines()]
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "shown",
        "level": "info",
        "logger_name": "here",
        "service": "here",
        "answer": 42,
    }


def test_logs_for_people_have_no_colours_in_a_file(start: Start) -> None:
    _, errors = start("talk", logs="console").communicate(timeout=20)
    assert "shown" in errors
    assert "answer=42" in errors
    assert "\x1b" not in errors


def test_metrics_are_served(start: Start) -> None:
    port = free_port()
    process = start("drain", metrics=port)
    wait_up(process)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        assert b"process_resident_memory_bytes" in response.read()
    process.terminate()
    assert process.wait(10) == 0


def test_a_taken_metrics_port_is_named(start: Start) -> None:
    port = free_port()
    first = start("drain", metrics=port)
    wait_up(first)
    second = start("drain", metrics=port)
    output, errors = second.communicate(timeout=20)
    assert (second.returncode, output) == (1, "")
    assert errors.startswith(f"error: metrics cannot listen on 127.0.0.1:{port}")
    assert "choose another metrics.port" in errors
    assert errors.count("\n") == 1
