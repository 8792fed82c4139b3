"""The simulated server: bare `asyncio.Protocol`, some ten microseconds a request."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec

from batch_gpu_runner.engines.sim.answers import make_answer
from batch_gpu_runner.engines.sim.bodies import READERS, Asked
from batch_gpu_runner.engines.sim.connection import Connection
from batch_gpu_runner.engines.sim.fault_file import FaultFile, Ordered
from batch_gpu_runner.engines.sim.faults import Fault, Faults, die
from batch_gpu_runner.engines.sim.options import SimOptions
from batch_gpu_runner.engines.sim.pace import Pace
from batch_gpu_runner.engines.sim.request_log import RequestLog

MAX_RUNNING = 256
_BACKLOG = 2048
_CACHE_TOKENS = 1_000_000
_GARBAGE = b'<html>\xff{"choices": ['


class _Work(msgspec.Struct, frozen=True, eq=False):
    """A request and the answer it will get; `tokens` is its share of what is in flight."""

    connection: Connection
    asked: Asked
    digest: bytes
    status: int
    body: bytes
    tokens: int


class SimServer:
    """What all connections share."""

    def __init__(self, models: tuple[str, ...], options: SimOptions) -> None:
        self.connections: set[Connection] = set()
        self._models = models
        self._faults = Faults(options)
        self._pace = Pace(options)
        self._is_instant = self._pace.is_instant
        self._fault_file = FaultFile(options.fault_file) if options.fault_file else None
        self._log = RequestLog(options.request_log) if options.request_log else None
        self._max_tokens = options.oom_above_tokens or _CACHE_TOKENS
        self._max_running = options.max_num_seqs
        # Waiting for others to end, in the order in which they came.
        self._waiting: dict[_Work, None] = {}
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._tokens_in_flight = 0

    def get(self, connection: Connection, path: str) -> None:
        """Health, the models and the gauges."""
        match path:
            case "/health":
                connection.send(200, b"{}")
            case "/v1/models":
                connection.send(200, self._listing())
            case "/metrics":
                connection.send(200, self._gauges(), b"text/plain; version=0.0.4")
            case _:
                connection.send(404, _error(404, "NotFoundError", f"no route {path}"))

    def post(self, connection: Connection, path: str, body: bytes) -> None:
        """Answer now, or when its time has come."""
        read = READERS.get(path)
        if read is None:
            connection.send(404, _error(404, "NotFoundError", f"no route {path}"))
            return
        try:
            asked = read(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            connection.send(400, _error(400, "BadRequestError", str(error)))
            return
        if asked.model not in self._models:
            message = f"The model `{asked.model}` does not exist."
            connection.send(404, _error(404, "NotFoundError", message))
            return
        self._compute(connection, path, asked, hashlib.blake2b(body, digest_size=8).digest())

    def close(self) -> None:
        """Drop every connection and write the log's rest."""
        for connection in list(self.connections):
            connection.abort()
        if self._log is not None:
            self._log.close()

    def _compute(self, connection: Connection, path: str, asked: Asked, digest: bytes) -> None:
        answer = make_answer(path, asked, digest)
        work = _Work(connection, asked, digest, 200, answer.body, answer.tokens)
        ordered = self._fault_file.strike() if self._fault_file is not None else None
        if ordered is not None:
            self._obey(work, ordered)
            return
        if self._max_running is not None and self._in_flight >= self._max_running:
            self._wait(work)
        else:
            self._take_up(work)

    def _wait(self, work: _Work) -> None:
        self._waiting[work] = None
        work.connection.on_lost = partial(self._waiting.pop, work, None)

    def _take_up(self, work: _Work) -> None:
        in_flight = self._tokens_in_flight + work.tokens
        fault = self._faults.strike(work.asked.prompts, work.digest, in_flight)
        if fault is not None:
            self._fail(work, fault)
        elif self._is_instant:
            self._serve(work)
        else:
            self._begin(work)

    def _fail(self, work: _Work, fault: Fault) -> None:
        match fault:
            case Fault.CRASH | Fault.OOM:
                self._die(fault)
            case Fault.HANG:
                self._begin(work, hangs=True)
            case Fault.FAIL:
                error = _error(500, "InternalServerError", "simulated failure")
                self._begin(msgspec.structs.replace(work, status=500, body=error))

    def _obey(self, work: _Work, ordered: Ordered) -> None:
        status = {"status": ordered.status, "garbage": 200, "half_body": 200}.get(ordered.mode, 0)
        self._note(work, status, ordered.mode)
        match ordered.mode:
            case "status":
                error = _error(status, "SimulatedError", "ordered by the fault file")
                work.connection.send(status, error, more=_retry_after(ordered.retry_after_s))
            case "garbage":
                work.connection.send(status, _GARBAGE)
            case "half_body":
                work.connection.send_half(work.body)
            case "hang":
                self._begin(work, hangs=True)
            case "close":
                work.connection.abort()
            case "die":
                self._die(Fault.CRASH)

    def _die(self, fault: Fault) -> None:
        if self._log is not None:
            self._log.flush()
        die(fault)

    def _begin(self, work: _Work, *, hangs: bool = False) -> None:
        self._in_flight += 1
        self._tokens_in_flight += work.tokens
        timer = None
        if not hangs:
            ready_at = self._pace.ready_at(work.tokens, self._loop.time())
            timer = self._loop.call_at(ready_at, self._finish, work)
        work.connection.on_lost = partial(self._leave, work, timer)

    def _finish(self, work: _Work) -> None:
        self._leave(work, None)
        self._serve(work)

    def _leave(self, work: _Work, timer: asyncio.TimerHandle | None) -> None:
        """Take a request out of flight: its answer is ready, or its client is gone."""
        work.connection.on_lost = None
        self._in_flight -= 1
        self._tokens_in_flight -= work.tokens
        if timer is not None:
            timer.cancel()
        while self._waiting and self._in_flight < (self._max_running or MAX_RUNNING):
            following = next(iter(self._waiting))
            del self._waiting[following]
            following.connection.on_lost = None
            self._take_up(following)

    def _serve(self, work: _Work) -> None:
        self._note(work, work.status)
        work.connection.send(work.status, work.body)

    def _note(self, work: _Work, status: int, fault: str | None = None) -> None:
        if self._log is not None:
            prompts = work.asked.prompts
            self._log.add(work.digest, prompts[0] if prompts else "", status, fault)

    def _listing(self) -> bytes:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sim"}
            for name in self._models
        ]
        return msgspec.json.encode({"object": "list", "data": data})

    def _gauges(self) -> bytes:
        running = min(self._in_flight, self._max_running or MAX_RUNNING)
        gauges = {
            "vllm:num_requests_running": running,
            "vllm:num_requests_waiting": self._in_flight - running + len(self._waiting),
            "vllm:kv_cache_usage_perc": min(1.0, self._tokens_in_flight / self._max_tokens),
        }
        lines = [f"# TYPE {name} gauge\n{name} {value}\n" for name, value in gauges.items()]
        return "".join(lines).encode()


@contextlib.asynccontextmanager
async def serve_sim(
    models: tuple[str, ...] = ("sim",),
    options: SimOptions | None = None,
    *,
    unix_socket: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve in this loop until the block ends; gives `http://host:port`, or `unix:PATH`.

    A fault that kills the server kills the whole process.
    """
    loop = asyncio.get_running_loop()
    sim = SimServer(models, options or SimOptions())
    if unix_socket is not None:
        server = await loop.create_unix_server(
            lambda: Connection(sim), str(unix_socket), backlog=_BACKLOG
        )
        address = f"unix:{unix_socket}"
    else:
        server = await loop.create_server(lambda: Connection(sim), host, port, backlog=_BACKLOG)
        address = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield address
    finally:
        server.close()
        sim.close()
        await server.wait_closed()


def _error(status: int, kind: str, message: str) -> bytes:
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": status}}
    )


def _retry_after(seconds: float | None) -> bytes:
    return b"" if seconds is None else b"Retry-After: %g\r\n" % seconds
