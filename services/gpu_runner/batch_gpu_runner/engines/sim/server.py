"""The simulated server: bare `asyncio.Protocol`, some ten microseconds a request."""

import asyncio
import hashlib
from pathlib import Path
from typing import Self, cast

import httptools
import msgspec

from batch_gpu_runner.engines.sim.answers import make_answer
from batch_gpu_runner.engines.sim.bodies import READERS, Asked
from batch_gpu_runner.engines.sim.faults import Fault, Faults, die
from batch_gpu_runner.engines.sim.options import SimOptions
from batch_gpu_runner.engines.sim.pace import Pace
from batch_gpu_runner.engines.sim.request_log import RequestLog

MAX_RUNNING = 256
_BACKLOG = 2048
_CACHE_TOKENS = 1_000_000

_HEAD = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
_JSON = b"application/json"
_REASONS = {
    200: b"200 OK",
    400: b"400 Bad Request",
    404: b"404 Not Found",
    500: b"500 Internal Server Error",
}


class SimServer:
    """What all connections share. Made by `serve_sim`."""

    def __init__(self, models: tuple[str, ...], options: SimOptions) -> None:
        self._models = models
        self._faults = Faults(options)
        self._pace = Pace(options)
        self._log = RequestLog(options.request_log) if options.request_log else None
        self._max_tokens = options.oom_above_tokens or _CACHE_TOKENS
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.in_flight = 0
        self.tokens_in_flight = 0

    async def listen(self, unix_socket: Path | None, host: str, port: int) -> str:
        """Start listening; the address to write down."""
        make = self._connect
        if unix_socket is not None:
            self._server = await self._loop.create_unix_server(
                make, str(unix_socket), backlog=_BACKLOG
            )
            return f"unix:{unix_socket}"
        self._server = await self._loop.create_server(make, host, port, backlog=_BACKLOG)
        bound = self._server.sockets[0].getsockname()[1]
        return f"http://{host}:{bound}"

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        if self._server is not None:
            await self._server.wait_closed()
        if self._log is not None:
            self._log.close()

    def get(self, path: str) -> tuple[int, bytes, bytes]:
        """(status, content type, body) of a GET."""
        match path:
            case "/health":
                return 200, _JSON, b"{}"
            case "/v1/models":
                return 200, _JSON, self._listing()
            case "/metrics":
                return 200, b"text/plain; version=0.0.4", self._gauges()
        return 404, _JSON, _error(404, "NotFoundError", f"no route {path}")

    def answer(self, connection: "_Connection", path: str, body: bytes) -> None:
        """Answer a POST, now or when its time has come."""
        read = READERS.get(path)
        if read is None:
            connection.send(404, _JSON, _error(404, "NotFoundError", f"no route {path}"))
            return
        try:
            asked = read(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            connection.send(400, _JSON, _error(400, "BadRequestError", str(error)))
            return
        if asked.model not in self._models:
            message = f"The model `{asked.model}` does not exist."
            connection.send(404, _JSON, _error(404, "NotFoundError", message))
            return
        self._compute(connection, path, asked, hashlib.blake2b(body, digest_size=8).digest())

    def _compute(self, connection: "_Connection", path: str, asked: Asked, digest: bytes) -> None:
        answer = make_answer(path, asked, digest)
        fault = self._faults.strike(asked.prompts, digest, self.tokens_in_flight + answer.tokens)
        if fault is Fault.CRASH or fault is Fault.OOM:
            if self._log is not None:
                self._log.flush()
            die(fault)
        status, out = 200, answer.body
        if fault is Fault.FAIL:
            status, out = 500, _error(500, "InternalServerError", "simulated failure")
        if fault is None and self._pace.is_instant:
            self._served(connection, asked, digest, status, out)
            return
        work = _Work(connection, asked, digest, status, out, answer.tokens)
        self._begin(work, hangs=fault is Fault.HANG)

    def _begin(self, work: "_Work", *, hangs: bool) -> None:
        self.in_flight += 1
        self.tokens_in_flight += work.tokens
        work.connection.work = work
        if not hangs:
            ready_at = self._pace.ready_at(work.tokens, self._loop.time())
            work.timer = self._loop.call_at(ready_at, self._finish, work)

    def _finish(self, work: "_Work") -> None:
        self.leave(work)
        self._served(work.connection, work.asked, work.digest, work.status, work.body)

    def leave(self, work: "_Work") -> None:
        """Take a request out of flight: answered, or its client is gone."""
        work.connection.work = None
        self.in_flight -= 1
        self.tokens_in_flight -= work.tokens
        if work.timer is not None:
            work.timer.cancel()

    def _served(
        self, connection: "_Connection", asked: Asked, digest: bytes, status: int, body: bytes
    ) -> None:
        if self._log is not None:
            self._log.add(digest, asked.prompts[0] if asked.prompts else "", status)
        connection.send(status, _JSON, body)

    def _connect(self) -> "_Connection":
        return _Connection(self, self._connections)

    def _listing(self) -> bytes:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sim"}
            for name in self._models
        ]
        return msgspec.json.encode({"object": "list", "data": data})

    def _gauges(self) -> bytes:
        running = min(self.in_flight, MAX_RUNNING)
        gauges = {
            "vllm:num_requests_running": running,
            "vllm:num_requests_waiting": self.in_flight - running,
            "vllm:kv_cache_usage_perc": min(1.0, self.tokens_in_flight / self._max_tokens),
        }
        lines = [f"# TYPE {name} gauge\n{name} {value}\n" for name, value in gauges.items()]
        return "".join(lines).encode()


class _Work(msgspec.Struct, eq=False):
    """A request in flight. timer: None when it hangs."""

    connection: "_Connection"
    asked: Asked
    digest: bytes
    status: int
    body: bytes
    tokens: int
    timer: asyncio.TimerHandle | None = None


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Its client waits for each answer before it asks again."""

    __slots__ = ("_all", "_body", "_parser", "_path", "_server", "_transport", "work")

    _transport: asyncio.Transport

    def __init__(self, server: SimServer, connections: "set[_Connection]") -> None:
        self._server = server
        self._all = connections
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._body = b""
        self.work: _Work | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._all.discard(self)
        if self.work is not None:
            self._server.leave(self.work)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        path, body = self._path.decode("latin-1"), self._body
        self._path = self._body = b""
        if self._parser.get_method() == b"POST":
            self._server.answer(self, path, body)
        else:
            self.send(*self._server.get(path))

    def send(self, status: int, kind: bytes, body: bytes) -> None:
        head = _HEAD % (_REASONS[status], kind, len(body))
        self._transport.write(head + body)


def _error(status: int, kind: str, message: str) -> bytes:
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": status}}
    )


class RunningSim:
    """A server in this process, for tests: `async with RunningSim(...) as sim: sim.url`."""

    def __init__(
        self,
        models: tuple[str, ...] = ("sim",),
        options: SimOptions = SimOptions(),  # noqa: B008 - frozen
        unix_socket: Path | None = None,
    ) -> None:
        self._models = models
        self._options = options
        self._unix_socket = unix_socket
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = SimServer(self._models, self._options)
        self.url = await self._server.listen(self._unix_socket, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()
