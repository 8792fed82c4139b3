"""Real nats-servers with the configuration that `deploy/nats` ships."""

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from batch_cli.nats_server import find_server
from batch_common.config import Nats
from batch_common.secret import Secret
from support.ports import free_port
from support.wait import until

SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "nats"
USERS: Final = ("gateway", "scheduler", "runner", "sinks", "listener", "operator")
_ROUTE: Final = "route-secret"


def password(user: str) -> str:
    return f"secret-of-{user}"


def passwords() -> dict[str, str]:
    """What the server's environment holds of them."""
    return {f"NATS_{user.upper()}_PASSWORD": password(user) for user in USERS} | {
        "NATS_ROUTE_PASSWORD": _ROUTE
    }


class ShippedServer:
    """One server. Its addresses and folder are other ones; the rest is as shipped."""

    def __init__(self, folder: Path, name: str = "", route: int = 0) -> None:
        """`name`: of a member of a cluster, whose others reach it at `route`."""
        self.port = free_port()
        self.route = route
        self._name = name
        self._folder = folder / (name or "nats")
        self._folder.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, user: str) -> Nats:
        url = Secret(f"nats://127.0.0.1:{self.port}")
        return Nats(url=url, user=user, password=Secret(password(user)))

    def launch(self, routes: tuple[int, ...] = ()) -> None:
        shipped = "cluster.conf" if self._name else "nats-server.conf"
        config = self._folder / shipped
        config.write_text(self._moved((SHIPPED / shipped).read_text("utf-8")), "utf-8")
        accounts = self._folder / "accounts.conf"
        accounts.write_text((SHIPPED / "accounts.conf").read_text("utf-8"), "utf-8")
        others = ", ".join(f"nats://route:{_ROUTE}@127.0.0.1:{port}" for port in routes)
        known = {"NATS_NAME": self._name, "NATS_ROUTES": f"[{others}]"}
        with (self._folder / "nats.log").open("ab") as output:
            self._process = subprocess.Popen(
                [find_server(Nats()), "-c", config],
                stdout=output,
                stderr=output,
                env={**os.environ, **passwords(), **known},
            )

    def _moved(self, text: str) -> str:
        """Fails when the shipped file has no such line any more."""
        moves = {
            "listen: 0.0.0.0:4222": f"listen: 127.0.0.1:{self.port}",
            "http: 127.0.0.1:8222": f"http: 127.0.0.1:{free_port()}",
            "store_dir: /var/lib/nats": f'store_dir: "{self._folder}/store"',
        }
        if self._name:
            moves["listen: 0.0.0.0:6222"] = f"listen: 127.0.0.1:{self.route}"
        for there, here in moves.items():
            assert there in text, f"the shipped configuration lacks {there!r}"
            text = text.replace(there, here)
        return text

    async def start(self) -> None:
        self.launch()
        await until(self.answers, what="nats-server")

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait, 20)
            self._process = None

    def refusals(self) -> list[str]:
        """What somebody tried and may not; a stream that is not there yet is for others to make."""
        log = (self._folder / "nats.log").read_text("utf-8")
        refused = [line for line in log.splitlines() if "Violation" in line]
        return [line for line in refused if "$JS.API.STREAM.CREATE." not in line]


class ShippedCluster:
    """Three of them."""

    def __init__(self, folder: Path) -> None:
        self.servers = [ShippedServer(folder, f"n{n + 1}", free_port()) for n in range(3)]

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{server.port}" for server in self.servers)

    async def start(self) -> None:
        routes = tuple(server.route for server in self.servers)
        for server in self.servers:
            server.launch(routes)
        for server in self.servers:
            await until(server.answers, what="nats-server")

    def refusals(self) -> list[str]:
        return [line for server in self.servers for line in server.refusals()]

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.servers))
