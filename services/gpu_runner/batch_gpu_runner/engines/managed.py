"""An engine that runs as our own child process and listens on a Unix socket."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from batch_common.logs import get_log
from batch_gpu_runner.engines.base import (
    Endpoint,
    EngineAnswer,
    EngineConnectionError,
    EngineLoad,
    EngineStartError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.client import EngineClient, wait_until_served
from batch_gpu_runner.engines.files import engine_files
from batch_gpu_runner.engines.load_metrics import LoadNames, parse_load
from batch_gpu_runner.engines.process import EngineProcess, Launch
from batch_gpu_runner.engines.settings import EngineSettings

PROGRESS_S = 10.0
METRICS_TIMEOUT_S = 2.0

log = get_log(__name__)


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What makes one kind of managed engine different from the others.

    engine: its name in the settings
    models: the names it answers to; one process serves them all
    command: the arguments for a given Unix socket
    endpoints: what it answers as far as we know before it runs
    ask_routes: whether `/openapi.json` of the running engine narrows `endpoints` down
    window: requests in flight that suit it
    load_names: its gauges on /metrics; None when it has none
    advice: what to do when it does not start
    """

    engine: str
    models: tuple[str, ...]
    command: Callable[[Path], tuple[str, ...]]
    endpoints: frozenset[str]
    ask_routes: bool = False
    window: int
    load_names: LoadNames | None
    advice: str


class ManagedEngine:
    """An `Engine` made from a recipe."""

    def __init__(self, recipe: Recipe, settings: EngineSettings) -> None:
        self._recipe = recipe
        self._settings = settings
        self._files = engine_files(settings.state_dir, recipe.engine, recipe.models[0])
        self._endpoints = recipe.endpoints
        self._process: EngineProcess | None = None
        self._client: EngineClient | None = None
        self._socket: Path | None = None

    @property
    def models(self) -> tuple[str, ...]:
        return self._recipe.models

    @property
    def default_window(self) -> int:
        return self._recipe.window

    @property
    def output_file(self) -> Path:
        """Everything the engine of the latest start wrote."""
        return self._files.output

    @property
    def pid(self) -> int | None:
        """The engine's process id; None while it does not run."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        await self.stop()
        began = time.monotonic()
        log.info(
            "engine_starting",
            engine=self._recipe.engine,
            models=self.models,
            output_file=str(self.output_file),
        )
        try:
            await self._launch()
            await self._until_served(began)
            await self._narrow_endpoints()
        except BaseException:
            await self.stop()
            raise
        took_s = round(time.monotonic() - began, 1)
        log.info("engine_started", engine=self._recipe.engine, models=self.models, took_s=took_s)

    async def stop(self) -> None:
        process, self._process = self._process, None
        client, self._client = self._client, None
        socket, self._socket = self._socket, None
        if process is not None:
            await process.stop()
        if client is not None:
            await client.close()
        if socket is not None:
            await asyncio.to_thread(self._files.remove_socket, socket)

    async def died(self) -> str:
        if self._process is None:
            return "it is not running"
        return await self._process.wait()

    def supports(self, endpoint: str) -> bool:
        return endpoint in self._endpoints

    async def post(self, endpoint: str, body: bytes, timeout_s: float) -> EngineAnswer:
        if self._client is None:
            raise EngineConnectionError(f"engine {self._recipe.engine} is not running")
        return await self._client.post(endpoint, body, timeout_s)

    async def load(self) -> EngineLoad | None:
        if self._client is None or self._recipe.load_names is None:
            return None
        try:
            answer = await self._client.get("/metrics", METRICS_TIMEOUT_S)
        except (EngineConnectionError, EngineTimeoutError):
            return None
        if answer.status != 200:
            return None
        return parse_load(answer.body.decode("utf-8", "replace"), self._recipe.load_names)

    async def _launch(self) -> None:
        socket = self._socket = await asyncio.to_thread(self._files.new_socket)
        launch = Launch(
            command=self._recipe.command(socket),
            environment=engine_environment(os.environ),
            output=self._files.output,
            lock=self._files.lock,
            grace_s=self._settings.stop_grace_s,
        )
        self._process = await EngineProcess.launch(launch)
        self._client = EngineClient(Endpoint("http://engine/v1", unix_socket=str(socket)))
        await self._client.open()

    async def _until_served(self, began: float) -> None:
        """Race the first healthy answer against the engine's end and the time it is given."""
        assert self._process is not None  # noqa: S101
        assert self._client is not None  # noqa: S101
        served = asyncio.create_task(wait_until_served(self._client, "/health"))
        ended = asyncio.create_task(self._process.wait())
        try:
            while not served.done():
                left_s = began + self._settings.start_timeout_s - time.monotonic()
                if ended.done() or left_s <= 0:
                    raise await self._start_error(ended)
                await asyncio.wait(
                    {served, ended},
                    timeout=min(PROGRESS_S, left_s),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not served.done() and not ended.done():
                    await self._report_progress(began)
        finally:
            served.cancel()
            ended.cancel()
            await asyncio.gather(served, ended, return_exceptions=True)

    async def _start_error(self, ended: asyncio.Task[str]) -> EngineStartError:
        assert self._process is not None  # noqa: S101
        words = await self._process.last_words()
        limit_s = self._settings.start_timeout_s
        why = ended.result() if ended.done() else f"it did not serve within {limit_s:g} s"
        if not ended.done() and words:
            why += f"; last words: {words}"
        return EngineStartError(
            f"engine {self._recipe.engine} did not start for model {self.models[0]!r}: {why}\n"
            f"{self._recipe.advice} All it wrote: {self.output_file}",
            last_words=words,
            output_file=str(self.output_file),
        )

    async def _report_progress(self, began: float) -> None:
        assert self._process is not None  # noqa: S101
        log.info(
            "engine_still_starting",
            engine=self._recipe.engine,
            elapsed_s=round(time.monotonic() - began),
            says=await self._process.last_line(),
            output_file=str(self.output_file),
        )

    async def _narrow_endpoints(self) -> None:
        if not self._recipe.ask_routes:
            return
        assert self._client is not None  # noqa: S101
        with contextlib.suppress(EngineConnectionError, EngineTimeoutError, msgspec.DecodeError):
            answer = await self._client.get("/openapi.json", timeout_s=30.0)
            if answer.status == 200:
                routes = msgspec.json.decode(answer.body, type=_Routes).paths
                self._endpoints = self._recipe.endpoints & routes.keys()


class _Routes(msgspec.Struct):
    paths: dict[str, msgspec.Raw]


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's environment (hub tokens, caches, devices) without our own settings.

    Those hold secrets of other services, and vLLM complains of every VLLM_ variable it does not
    know.
    """
    return {k: v for k, v in environment.items() if not k.startswith("VLLM_BATCH_")}
