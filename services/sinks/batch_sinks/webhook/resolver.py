"""Looking up names that users have chosen, in threads that nobody else waits for."""

import asyncio
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class OwnThreadsResolver(AbstractResolver):
    """A thread for each look-up, which its attempt may leave behind.

    The event loop's own pool has a few threads for all look-ups of the process: names whose
    servers do not answer would keep them from NATS, the database and other tenants' webhooks. A
    look-up ends by itself, within the limits of the system's resolver; a daemon thread keeps no
    process from leaving.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def look() -> None:
            try:
                infos = socket.getaddrinfo(
                    host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            except (OSError, ValueError) as error:  # a name may have no form that can be asked for
                _call_in(loop, _settle, found, [], error)
            else:
                _call_in(loop, _settle, found, infos, None)

        threading.Thread(target=look, name="look up a webhook", daemon=True).start()
        return [_result(host, info) for info in await found]

    async def close(self) -> None:
        """Threads that still run end by themselves."""


def _settle(found: asyncio.Future[list[Any]], infos: list[Any], error: Exception | None) -> None:
    if found.done():
        return
    if error is None:
        found.set_result(infos)
    else:
        found.set_exception(error if isinstance(error, OSError) else OSError("no name of a host"))


def _call_in(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
    """Nothing when the loop has closed: its process is leaving."""
    try:
        loop.call_soon_threadsafe(*call)
    except RuntimeError:
        return


def _result(host: str, info: Any) -> ResolveResult:
    family, _, protocol, _, address = info
    return ResolveResult(
        hostname=host,
        host=address[0],
        port=address[1],
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
