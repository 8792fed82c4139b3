"""Three nats-servers on loopback that keep their streams thrice."""

import asyncio
import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Final

from batch_cli.nats_server import find_server
from batch_common.config import Nats
from batch_common.secret import Secret
from support.ports import free_port
from support.wait import until

SIZE: Final = 3
META: Final = "_meta_"


class Node:
    """One server of the cluster, with a store of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.route = free_port()
        self.monitor = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self, routes: list[int]) -> None:
        config = self.folder / f"{self.name}.conf"
        config.write_text(self._config(routes))
        with (self.folder / f"{self.name}.log").open("ab") as output:
            self._process = subprocess.Popen(
                [find_server(Nats()), "-c", config], stdout=output, stderr=output
            )

    def _config(self, routes: list[int]) -> str:
        """`no_advertise`: clients go where they are told to, so that proxies stay between."""
        known = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        return (
            f"server_name: {self.name}\nhost: 127.0.0.1\nport: {self.port}\n"
            f"http: 127.0.0.1:{self.monitor}\nmax_payload: 8MB\n"
            f'jetstream {{ store_dir: "{self.folder / self.name}", sync_interval: always }}\n'
            "cluster {\n  name: test\n  no_advertise: true\n"
            f"  listen: 127.0.0.1:{self.route}\n  routes: [{known}]\n}}\n"
        )

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def look(self, path: str) -> Any:
        """The monitoring page as JSON. Raises OSError."""
        url = f"http://127.0.0.1:{self.monitor}/{path}"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return json.load(answer)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, 20)
            self._process = None


class NatsCluster:
    """Nodes are named n1, n2, n3."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.nodes = [Node(f"n{number + 1}", folder) for number in range(SIZE)]

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def settings(self) -> Nats:
        return Nats(url=Secret(self.url), replicas=SIZE)

    def launch(self) -> None:
        """Starts every node that does not run, and waits for nothing: they elect yet."""
        for node in self.nodes:
            if not node.runs:
                node.start([other.route for other in self.nodes])

    async def start(self) -> None:
        self.launch()
        await until(self.is_whole, what="a NATS cluster with a leader", within_s=60)

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop(signal.SIGKILL) for node in self.nodes))

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    async def kill(self, node: Node, number: signal.Signals = signal.SIGKILL) -> None:
        await node.stop(number)

    async def bring_back(self, node: Node) -> None:
        node.start([other.route for other in self.nodes])
        await until(self.is_whole, what=f"{node.name} current again", within_s=60)

    async def is_whole(self) -> bool:
        """Every node runs, the meta group has a leader, and every copy is up to date."""
        return await asyncio.to_thread(self._is_whole)

    def _is_whole(self) -> bool:
        try:
            healthy = [node.look("healthz").get("status") == "ok" for node in self.nodes]
            meta = self._running()[0].look("jsz").get("meta_cluster", {})
        except OSError:
            return False
        return all(healthy) and bool(meta.get("leader")) and meta.get("cluster_size") == SIZE

    def _running(self) -> list[Node]:
        return [node for node in self.nodes if node.runs]

    async def leader_of(self, stream: str) -> Node:
        """The node that leads the stream now, waiting for an election to end."""
        found: list[str] = []

        async def known() -> bool:
            found[:] = [await asyncio.to_thread(self._leader, stream)]
            return bool(found[0])

        await until(known, what=f"a leader of {stream}", within_s=60)
        return self.node(found[0])

    async def meta_leader(self) -> Node:
        """The node that decides where streams go."""
        return await self.leader_of(META)

    def _leader(self, stream: str) -> str:
        for node in self._running():
            try:
                page = node.look("jsz?streams=true&accounts=true")
            except OSError:
                continue
            leader = _meta(page) if stream == META else _of_stream(page, stream)
            if leader and self.node(leader).runs:
                return leader
        return ""


def _meta(page: Any) -> str:
    return str(page.get("meta_cluster", {}).get("leader", ""))


def _of_stream(page: Any, stream: str) -> str:
    for account in page.get("account_details", ()):
        for detail in account.get("stream_detail", ()):
            if detail["name"] == stream:
                return str((detail.get("cluster") or {}).get("leader", ""))
    return ""
