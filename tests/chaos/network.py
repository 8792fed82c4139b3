"""The network between the services and NATS: a proxy for each role and server."""

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from chaos.system import System
from support.tcp_proxy import TcpProxy


class Network:
    """Made by `network_of`; every role's next start goes through its proxies."""

    def __init__(self) -> None:
        self._proxies: dict[str, list[TcpProxy]] = {}

    async def lay(self, roles: Iterable[str], ports: Iterable[int], urls: dict[str, str]) -> None:
        """Writes what each role is to connect to into `urls`."""
        for role in roles:
            self._proxies[role] = [TcpProxy(port) for port in ports]
            for proxy in self._proxies[role]:
                await proxy.start()
            urls[role] = ",".join(proxy.url for proxy in self._proxies[role])

    async def take_up(self) -> None:
        for proxy in self._all():
            await proxy.stop()
        self._proxies.clear()

    def of(self, role: str) -> list[TcpProxy]:
        return self._proxies[role]

    @property
    def is_laid(self) -> bool:
        return bool(self._proxies)

    def _all(self) -> list[TcpProxy]:
        return [proxy for proxies in self._proxies.values() for proxy in proxies]


_NETWORKS: "WeakKeyDictionary[System, Network]" = WeakKeyDictionary()


def network_of(system: System) -> Network:
    return _NETWORKS.setdefault(system, Network())
