"""uvicorn inside our own loop: signals are the service's, not the server's."""

import asyncio
import contextlib
import errno
import math
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from batch_common.config import Gateway
from batch_common.errors import StartError
from batch_common.logs import get_log
from batch_common.tasks import Tasks
from batch_gateway.http_protocol import HttpProtocol

log = get_log(__name__)

_KEEP_ALIVE_S: Final = 65
_LAST_S: Final = 2.0


def listen(settings: Gateway) -> list[socket.socket]:
    """Sockets bound to every address of the host. Raises StartError."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        return _bind_all([(family, address) for family, _, _, _, address in found])
    except OSError as error:
        raise StartError(f"the gateway cannot listen on {where}: {_reason(error)}") from error


def _bind_all(addresses: list[tuple[int, Any]]) -> list[socket.socket]:
    with contextlib.ExitStack() as undo:
        bound: list[socket.socket] = []
        for family, address in dict.fromkeys(addresses):
            try:
                bound.append(undo.enter_context(_bind(family, address)))
            except OSError as error:
                # `localhost` may have an address of a family that this machine does not use.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT} or not bound:
                    raise
        undo.pop_all()
    return bound


def _bind(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(1)  # a taken port shows only here when both sides reuse addresses
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                "another process listens there already. Stop it, or choose another "
                "gateway.port (--port)"
            )
        case errno.EACCES:
            return "not permitted. Choose a gateway.port above 1023 (--port)"
    return f"{error.strerror}. Check gateway.host and gateway.port"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Any, sockets: list[socket.socket], drain_s: float, stop: asyncio.Event
) -> None:
    """Answers requests until `stop`; then those begun have `drain_s` to end."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(drain_s),
    )
    server = _Server(config)
    async with Tasks(stop) as tasks:
        tasks.spawn("stop_server", _exit_on(stop, server))
        log.info("gateway_listening", addresses=[_address(sock) for sock in sockets])
        await server.serve(sockets)
    # What the server cancelled cleans up after itself before the stores close.
    if server.server_state.tasks:
        await asyncio.wait(set(server.server_state.tasks), timeout=_LAST_S)


async def _exit_on(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"
