"""The services apart, on the stores they grow to, with the configuration that `deploy` ships."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import boto3
import httpx

from chaos.postgres_server import PostgresServer
from support.ports import free_port
from support.s3_server import S3Server
from support.shipped_nats import ShippedCluster, password

CONFIG: Final = Path(__file__).parents[2] / "deploy" / "config.yml"
API_KEY: Final = "key-of-the-deployment"
# Two of those that may be more than one.
ROLES: Final = (
    "gateway", "gateway", "scheduler", "scheduler", "runner", "runner", "sinks",
)  # fmt: skip
_BUCKET: Final = "batches"
_READY_S: Final = 90.0


class Deployment:
    """Three NATS servers with accounts, Postgres, an S3 endpoint; nothing else is shared."""

    api_key = API_KEY

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._nats = ShippedCluster(folder)
        self._postgres = PostgresServer()
        self._s3 = S3Server(folder / "s3.log")
        self._ports = iter((free_port(), free_port()))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = ""

    def start(self) -> None:
        """Returns when a gateway knows the runners' model."""
        try:
            asyncio.run(self._start_stores())
            self._make_bucket()
            for number, service in enumerate(ROLES):
                self._launch(service, self.folder / f"{service}-{number}")
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int:
        """Ends everything; the first exit code that is not 0, if any."""
        for process in self._processes:
            process.terminate()
        codes = [process.wait(40) for process in self._processes]
        asyncio.run(self._stop_stores())
        assert self._nats.refusals() == [], "an account lacks what its service does"
        assert self._writers() <= {"scheduler", "runner"}, "the others have no folder to write to"
        return next((code for code in codes if code), 0)

    def _writers(self) -> set[str]:
        """The services that have made something in their `data_dir`."""
        made = {path.name.partition("-")[0] for path in self.folder.iterdir() if path.is_dir()}
        return made & set(ROLES)

    async def _start_stores(self) -> None:
        await asyncio.gather(self._nats.start(), self._postgres.start(), self._s3.start())

    async def _stop_stores(self) -> None:
        await asyncio.gather(self._nats.stop(), self._postgres.stop(), self._s3.stop())

    def _make_bucket(self) -> None:
        boto3.client(
            "s3",
            endpoint_url=self._s3.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="hidden",
        ).create_bucket(Bucket=_BUCKET)

    def _launch(self, service: str, folder: Path) -> None:
        own = self._environment(service, folder)
        if service == "gateway":
            port = next(self._ports)
            own["VLLM_BATCH_GATEWAY__PORT"] = str(port)
            own["VLLM_BATCH_GATEWAY__API_KEYS"] = json.dumps({API_KEY: "default"})
            self.url = self.url or f"http://127.0.0.1:{port}/v1"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_BATCH_")}
        command = [sys.executable, "-m", "batch_cli.main", service, "--config", str(CONFIG)]
        with folder.with_suffix(".log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=kept | own)
            )

    def _environment(self, service: str, folder: Path) -> dict[str, str]:
        store = {
            "endpoint": self._s3.url, "region": "us-east-1", "allow_http": "true",
            "access_key_id": "key", "secret_access_key": "hidden",
        }  # fmt: skip
        return {
            "DATA_DIR": str(folder),
            "DATABASE_URL": "" if service == "runner" else self._postgres.url,
            "NATS_URL": self._nats.url,
            "NATS_USER": service,
            "NATS_PASSWORD": password(service),
            "BLOBS_URL": f"s3://{_BUCKET}/production",
            "VLLM_BATCH_NATS__REPLICAS": "3",
            "VLLM_BATCH_BLOBS__OPTIONS": json.dumps(store),
            "VLLM_BATCH_GATEWAY__HOST": "127.0.0.1",
            "VLLM_BATCH_METRICS__PORT": "0",
            "VLLM_BATCH_RUNNER__ENGINE": "sim",
            "VLLM_BATCH_RUNNER__MODELS": "[sim=sim]",
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while not self._is_ready():
            ended = [process.args for process in self._processes if process.poll() is not None]
            assert not ended, f"{ended} ended: see the logs in {self.folder}"
            assert time.monotonic() < deadline, f"not ready: see the logs in {self.folder}"
            time.sleep(0.3)

    def _is_ready(self) -> bool:
        address = self.url.removesuffix("/v1") + "/readyz"
        try:
            models = httpx.get(address, timeout=5).json().get("models", {})
        except (httpx.TransportError, ValueError):
            return False
        return bool(models.get("sim", {}).get("runners") == ROLES.count("runner"))
