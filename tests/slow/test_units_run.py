"""The units' own commands and environments, with everything that install.sh makes, run a batch."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from batch_cli.nats_server import find_server
from batch_common.config import Nats
from support.batches import results, submit, wait
from support.ports import free_port
from support.requests import chat_line, jsonl
from support.units import UNITS, environment, settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ORDER = ("nats", "gateway", "scheduler", "sinks", "runner@")


class Box:
    """The machine, in a folder in the place of `/`, on other ports, with a simulated model."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nats, self._port = free_port(), free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{self._port}/v1"

    def install(self) -> None:
        environ = {**os.environ, "DESTDIR": str(self._root)}
        subprocess.run(["/bin/sh", UNITS / "install.sh"], check=True, env=environ, timeout=30)
        shipped = self._root / "etc/vllm-batch/nats/nats-server.conf"
        text = shipped.read_text("utf-8")
        for there, here in {
            "0.0.0.0:4222": f"0.0.0.0:{self._nats}",
            "127.0.0.1:8222": f"127.0.0.1:{free_port()}",
            "store_dir: /var/lib/nats": f'store_dir: "{self._root}/var/lib/nats"',
        }.items():
            assert there in text
            text = text.replace(there, here)
        shipped.write_text(text, "utf-8")

    @property
    def api_key(self) -> str:
        given = environment(UNITS / "vllm-batch-gateway.service", self._root)
        return given["VLLM_BATCH_GATEWAY__API_KEYS"].split('"')[1]

    def start(self) -> None:
        for name in ORDER:
            self._processes[name] = self._launch(name)
        deadline = time.monotonic() + 90
        while not self._is_ready():
            ended = {name: p.returncode for name, p in self._processes.items() if p.poll()}
            assert not ended, (self._root / f"{next(iter(ended))}.log").read_text()
            assert time.monotonic() < deadline, f"not ready: see {self._root}"
            time.sleep(0.3)

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        unit = UNITS / f"vllm-batch-{name}.service"
        given = environment(unit, self._root) | self._moved(name)
        [line] = settings(unit)["ExecStart"]
        program, *arguments = shlex.split(line)
        arguments = [
            str(self._root) + word if word.startswith("/etc/") else word for word in arguments
        ]
        command = {
            "vllm-batch": [sys.executable, "-m", "batch_cli.main"],
            "nats-server": [str(find_server(Nats()))],
        }[Path(program).name]
        with (self._root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, *arguments], env=given, cwd=self._root, stdout=log, stderr=log
            )

    def _moved(self, name: str) -> dict[str, str]:
        moved = {"PATH": os.environ["PATH"], "VLLM_BATCH_METRICS__PORT": str(free_port())}
        if name == "nats":
            return moved
        return moved | {
            "DATA_DIR": f"{self._root}/var/lib/vllm-batch",
            "NATS_URL": f"nats://127.0.0.1:{self._nats}",
            "VLLM_BATCH_GATEWAY__PORT": str(self._port),
            "VLLM_BATCH_RUNNER__STATE_DIR": f"{self._root}/var/lib/vllm-batch/runner-0",
            "VLLM_BATCH_RUNNER__ENGINE": "sim",
            "VLLM_BATCH_RUNNER__MODELS": "[sim=sim]",
        }

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(self.url.removesuffix("/v1") + "/readyz", timeout=5)
        except httpx.TransportError:
            return False
        return bool(json.loads(answer.content).get("models", {}).get("sim", {}).get("runners"))

    def stop(self) -> dict[str, int]:
        """SIGTERM, as systemd sends it; all within what the units allow."""
        codes = {}
        for name in reversed(ORDER):
            if name in self._processes:
                self._processes[name].terminate()
                codes[name] = self._processes[name].wait(45)
        return codes


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    made.install()
    try:
        made.start()
        yield made
    finally:
        codes = made.stop()
    assert {name: code for name, code in codes.items() if code and name != "nats"} == {}


def test_a_batch_runs(box: Box) -> None:
    client = OpenAI(base_url=box.url, api_key=box.api_key)
    batch = submit(client, jsonl(chat_line(str(n), "hi") for n in range(100)))
    batch = wait(client, batch.id)
    assert batch.status == "completed"
    assert sorted(results(client, batch), key=int) == [str(n) for n in range(100)]
