"""A real nats-server that a test may stop, kill, start again and rob of its store."""

import asyncio
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from batch_cli.nats_server import find_server, server_config
from batch_common.config import Nats
from batch_common.secret import Secret
from support.ports import free_port
from support.wait import until


class NatsProcess:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.store = folder / "jetstream"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Nats:
        return Nats(url=Secret(f"nats://127.0.0.1:{self.port}"))

    async def start(self) -> None:
        config = self.folder / "nats.conf"
        config.write_text(server_config(host="127.0.0.1", port=self.port, store_dir=self.store))
        with (self.folder / "nats.log").open("ab") as output:
            self._process = subprocess.Popen(
                [find_server(Nats()), "-c", config], stdout=output, stderr=output
            )
        await until(self._answers, what="nats-server")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None

    async def lose_store(self) -> None:
        """Stops the server, deletes everything JetStream kept, starts it again."""
        await self.stop()
        shutil.rmtree(self.store)
        await self.start()
