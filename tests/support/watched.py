"""A whole system with a second runner on a fake GPU, and a real Prometheus that watches them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from openai import OpenAI

from monitoring_files import scrape
from monitoring_files.files import rule_files
from monitoring_files.times import Times
from support.ports import free_port
from support.prometheus import Prometheus, prometheus
from support.requests import CHAT, chat_line, jsonl
from support.standalone import Standalone, start

# Ranges and waits are a sixtieth of those shipped, and still some scrapes long.
TIMES: Final = Times(quicker=60, least_look_s=15)
_HANDLER: Final = """
from batch_sinks import ResultHandler

class Reader(ResultHandler):
    def handle(self, batch_id, results, metadata):
        return sum(1 for _ in results) >= 0
"""
_GUARD: Final = "batch_common.guard"
# Models: of the system's own runner, of the one with a fake GPU, and one without a runner.
SIM: Final = "sim"
GPU: Final = "gpu"
GHOST: Final = "ghost"


class Watched:
    """The system, what hurts it, and who watches."""

    def __init__(self, folder: Path, system: Standalone, server: Prometheus) -> None:
        self.folder = folder
        self.system = system
        self.prometheus = server
        self.client = OpenAI(base_url=system.url, api_key="none", max_retries=0)

    def submit(
        self,
        count: int,
        model: str = "sim",
        window: Any = "24h",
        prompt: str = "q",
        **metadata: str,
    ) -> str:
        """A batch of `count` requests; its id."""
        lines = (chat_line(f"r{n}", f"{prompt} {n}", model, max_tokens=8) for n in range(count))
        file = self.client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
        batch = self.client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window=window, metadata=metadata
        )
        return batch.id

    def order(self, mode: str, **more: Any) -> None:
        """What requests meet at the engine from now on."""
        _replace(self.folder / "fault.json", {"mode": mode, **more})

    def gpu(self, **card: Any) -> None:
        """What the fake GPU says from now on."""
        _replace(self.folder / "nvml.json", {"card": card, "xids": [13]})

    def instance(self, service: str) -> str:
        """Where that service of the system itself is scraped."""
        listed = json.loads((self.folder / "data" / "run" / "prometheus.json").read_text("utf-8"))
        jobs = {each["labels"]["job"]: each["targets"][0] for each in listed}
        return str(jobs[f"vllm-batch-{service}"])

    def nats_url(self) -> str:
        return (self.folder / "data" / "run" / "nats.url").read_text("utf-8").strip()

    def kill_engine(self) -> None:
        """The one of the system's own runner."""
        for process in self.system.roles()["engine"]:
            if "batch_gpu_runner.engines.sim" in process.cmdline():
                process.kill()

    @contextlib.contextmanager
    def blobs_away(self) -> Iterator[None]:
        """Nothing can be read or written, also by root."""
        blobs = self.folder / "data" / "blobs"
        away = blobs.with_name("blobs.away")
        blobs.rename(away)
        blobs.write_text("in the way")
        try:
            yield
        finally:
            blobs.unlink()
            away.rename(blobs)

    @contextlib.contextmanager
    def suspended(self, role: str) -> Iterator[None]:
        guarded = (each for each in self.system.roles()[role] if _GUARD not in each.cmdline())
        process = next(guarded)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Starts everything. Raises support.prometheus.UnavailableError."""
    ports = _free_ports(5)
    (folder / "handlers").mkdir()
    (folder / "handlers" / "reader.py").write_text(_HANDLER)
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump(_config(folder)))
    _replace(folder / "fault.json", {"mode": "none"})
    _replace(folder / "nvml.json", {"card": {}, "xids": [13]})
    arguments = ("--config", str(config), "--metrics-port", str(ports))
    system = start(folder / "data", arguments)
    try:
        with _gpu_runner(folder, ports + 4), _watching(folder, ports + 4) as server:
            running = Watched(folder, system, server)
            with running.client:
                yield running
    finally:
        system.stop()


def _config(folder: Path) -> dict[str, Any]:
    return {
        "models": [GHOST],
        "limits": {"completion_windows": ["24h", "1m"]},
        "scheduler": {
            "chunk_first_requests": 100,
            "chunk_target_s": 3,
            "chunks_per_runner": 8,
            "reconcile_s": 1,
        },
        "runner": {
            "models": ["sim=sim"],
            "flush_s": 0.5,
            "gpu": {"watch": "never"},
            "options": {
                "requests_per_s": "200",
                "crash_on": "POISON",
                "fault_file": str(folder / "fault.json"),
            },
        },
        "result_handlers": {
            "enabled": ["webhook", "reader"],
            "retry_for_s": 75,
            "folder": str(folder / "handlers"),
            # Nobody listens there.
            "webhook": {"url": f"http://127.0.0.1:{free_port()}/", "allow_private": True},
            "custom": {"reader": {"handler": "reader:Reader"}},
        },
    }


@contextlib.contextmanager
def _gpu_runner(folder: Path, port: int) -> Iterator[None]:
    variables = {
        "FAKE_NVML": str(folder / "nvml.json"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "VLLM_BATCH_METRICS__PORT": str(port),
        "VLLM_BATCH_RUNNER__GPU__WATCH": "always",
        "VLLM_BATCH_RUNNER__GPU__RECOVER_S": "1",
        "VLLM_BATCH_RUNNER__MODELS": f"[{GPU}=sim]",
        "VLLM_BATCH_RUNNER__OPTIONS__FAULT_FILE": str(folder / "none.json"),
        "VLLM_BATCH_RUNNER__STATE_DIR": str(folder / "gpu_runner"),
    }
    config = folder / "data" / "run" / "config.yml"
    with (folder / "gpu_runner.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.fake_gpu_runner", "--config", str(config)],
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def _watching(folder: Path, gpu_runner: int) -> Iterator[Prometheus]:
    """Prometheus with the shipped configuration and rules, only quicker."""
    home = folder / "monitoring"
    configuration = scrape.from_files()
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = json.loads((folder / "data" / "run" / "prometheus.json").read_text("utf-8"))
    targets.append({"targets": [f"127.0.0.1:{gpu_runner}"], "labels": {"job": "vllm-batch-runner"}})
    for name, text in {
        "prometheus.yml": yaml.safe_dump(configuration),
        "targets/up.json": json.dumps(targets),
        **rule_files(TIMES),
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, "utf-8")
    with prometheus(folder / "tsdb", home / "prometheus.yml") as server:
        yield server


def _replace(file: Path, content: dict[str, Any]) -> None:
    """In one step: it is read at any time."""
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(content))
    beside.replace(file)


def _free_ports(count: int) -> int:
    """The first of some that follow one another."""
    for _ in range(100):
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError(f"no {count} free ports in a row")


class Alarms:
    """Which alerts have fired so far."""

    def __init__(self, server: Prometheus) -> None:
        self._server = server
        self._seen: list[dict[str, str]] = []

    @property
    def names(self) -> set[str]:
        return {labels["alertname"] for labels in self._seen}

    def until(self, *names: str, within_s: float, **labels: str) -> None:
        """Fails when one of them, with these labels, has not fired by then."""
        deadline = time.monotonic() + within_s
        while missing := [name for name in names if not self._fired(name, labels)]:
            assert time.monotonic() < deadline, f"{missing} did not fire; so far {self.names}"
            time.sleep(0.5)
            self._seen += [each for each in self._server.firing() if each not in self._seen]

    def forget(self, name: str) -> None:
        """It has to fire again."""
        self._seen = [labels for labels in self._seen if labels["alertname"] != name]

    def _fired(self, name: str, labels: dict[str, str]) -> bool:
        wanted = {"alertname": name, **labels}.items()
        return any(wanted <= seen.items() for seen in self._seen)
