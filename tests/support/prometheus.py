"""A real Prometheus: Debian's package, unpacked into `.cache/prometheus`, without root.

    python tests/support/prometheus.py

fetches it (20 MB); so does the first test that asks.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from support.ports import free_port

FOLDER: Final = Path(__file__).parents[2] / ".cache" / "prometheus"
_BINARIES: Final = ("usr/bin/prometheus", "usr/bin/promtool")
_START_S: Final = 30.0


class UnavailableError(Exception):
    """This machine cannot fetch the package; the text says why."""


def find_prometheus() -> Path:
    """The folder that holds `prometheus` and `promtool`. Raises UnavailableError."""
    if not all((FOLDER / name).exists() for name in _BINARIES):
        _fetch()
    return FOLDER / "usr" / "bin"


def _fetch() -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"no {tool}: Prometheus is taken from Debian's packages")
    unpacked = FOLDER.with_name("prometheus.new")
    shutil.rmtree(unpacked, ignore_errors=True)
    (unpacked / "lists" / "partial").mkdir(parents=True)
    (unpacked / "archives" / "partial").mkdir(parents=True)
    own = ("-o", f"Dir::State::Lists={unpacked}/lists", "-o", f"Dir::Cache={unpacked}")
    try:
        # Images of Debian come without lists, and making them in their place takes root.
        if _run(unpacked, "apt-get", "download", "-qq", "prometheus"):
            for words in (("update", "-qq"), ("download", "-qq", "prometheus")):
                if said := _run(unpacked, "apt-get", *own, *words):
                    raise UnavailableError(f"apt-get {words[0]} failed: {said[-300:]}")
        [package] = unpacked.glob("prometheus_*.deb")
        if said := _run(unpacked, "dpkg-deb", "-x", str(package), str(unpacked)):
            raise UnavailableError(f"the package cannot be unpacked: {said[-300:]}")
        package.unlink()
        shutil.rmtree(FOLDER, ignore_errors=True)
        unpacked.rename(FOLDER)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _run(folder: Path, *command: str) -> str:
    """What it said when it failed; empty: it did not."""
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    return (done.stderr or f"exit code {done.returncode}") if done.returncode else ""


class Prometheus:
    """A running server, asked over its API."""

    def __init__(self, port: int) -> None:
        self._api = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10)

    def close(self) -> None:
        self._api.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self._ask("/query", query=expr)["result"]
        return found

    def firing(self) -> list[dict[str, str]]:
        """The labels of every alert that fires now."""
        alerts = self._ask("/alerts")["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def targets(self) -> dict[str, str]:
        """Health by job and instance."""
        return {
            f"{target['labels']['job']} {target['labels']['instance']}": target["health"]
            for target in self._ask("/targets")["activeTargets"]
        }

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._ask("/rules")["groups"] for rule in group["rules"]]

    def is_ready(self) -> bool:
        try:
            return self._api.get("/status/buildinfo").status_code == 200
        except httpx.HTTPError:
            return False

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._api.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@contextlib.contextmanager
def prometheus(
    folder: Path, configuration: Path, arguments: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """Runs one with its data in `folder`. Raises UnavailableError."""
    binary, port = find_prometheus() / "prometheus", free_port()
    command = (
        str(binary),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        *arguments,
    )
    with (folder.parent / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TZ": "UTC"})
    server = Prometheus(port)
    try:
        deadline = time.monotonic() + _START_S
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((folder.parent / "prometheus.log").read_text("utf-8")[-3000:])
            time.sleep(0.1)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    print(find_prometheus())
