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
from batch_gpu_runner.engines.client import EngineClient
from batch_gpu_runner.engines.files import engine_files
from batch_gpu_runner.engines.load_metrics import LoadNames, read_load
from batch_gpu_runner.engines.process import EngineProcess, Launch
from batch_gpu_runner.engines.settings import EngineSettings
from batch_gpu_runner.engines.startup import why_not_served

HEALTH_TIMEOUT_S = 5.0

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
    spared: further arguments after so many steps down in memory; they override earlier ones
    """

    engine: str
    models: tuple[str, ...]
    command: Callable[[Path], tuple[str, ...]]
    endpoints: frozenset[str]
    ask_routes: bool = False
    window: int
    load_names: LoadNames | None
    advice: str
    spared: Callable[[int], tuple[str, ...]] = lambda _: ()


class _Run(msgspec.Struct, frozen=True):
    """One life of the engine, from its launch on."""

    process: EngineProcess
    client: EngineClient
    socket: Path


class ManagedEngine:
    """An `Engine` made from a recipe."""

    def __init__(self, recipe: Recipe, settings: EngineSettings) -> None:
        self._recipe = recipe
        self._settings = settings
        self._files = engine_files(settings.state_dir, recipe.engine, recipe.models[0])
        self._endpoints = recipe.endpoints
        self._steps = 0
        self._run: _Run | None = None

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
        return self._run.process.pid if self._run else None

    async def start(self) -> None:
        await self.stop()
        began = time.monotonic()
        about = log.bind(engine=self._recipe.engine, models=self.models)
        about.info("engine_starting", output_file=str(self.output_file))
        run = self._run = await self._launch()
        try:
            why = await why_not_served(run.process, run.client, self._settings.start_timeout_s)
            if why is not None:
                raise await self._start_error(run, why)
            self._endpoints = await self._served_endpoints(run.client)
        except BaseException:
            await self.stop()
            raise
        about.info("engine_started", took_s=round(time.monotonic() - began, 1))

    async def stop(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            await run.process.stop()
            await run.client.close()
            await asyncio.to_thread(self._files.remove_socket, run.socket)

    async def died(self) -> str:
        if self._run is None:
            return "it is not running"
        return await self._run.process.wait()

    async def is_serving(self) -> bool:
        if self._run is None:
            return False
        try:
            return (await self._run.client.get("/health", HEALTH_TIMEOUT_S)).status == 200
        except (EngineConnectionError, EngineTimeoutError):
            return False

    def spare_memory(self, steps: int) -> None:
        self._steps = steps

    def supports(self, endpoint: str) -> bool:
        return endpoint in self._endpoints

    async def post(self, endpoint: str, body: bytes, timeout_s: float) -> EngineAnswer:
        if self._run is None:
            raise EngineConnectionError(f"engine {self._recipe.engine} is not running")
        return await self._run.client.post(endpoint, body, timeout_s)

    async def load(self) -> EngineLoad | None:
        if self._run is None or self._recipe.load_names is None:
            return None
        return await read_load(self._run.client, self._recipe.load_names)

    async def _launch(self) -> _Run:
        try:
            socket = await asyncio.to_thread(self._files.new_socket)
            process = await EngineProcess.launch(self._launch_of(socket))
        except OSError as error:
            raise EngineStartError(
                f"engine {self._recipe.engine} cannot be started: {error}; "
                f"check runner.state_dir ({self._settings.state_dir})"
            ) from error
        client = EngineClient(Endpoint("http://engine/v1", unix_socket=str(socket)))
        client.open()
        return _Run(process, client, socket)

    def _launch_of(self, socket: Path) -> Launch:
        return Launch(
            command=self._recipe.command(socket) + self._recipe.spared(self._steps),
            environment=engine_environment(os.environ),
            output=self._files.output,
            lock=self._files.lock,
            grace_s=self._settings.stop_grace_s,
        )

    async def _start_error(self, run: _Run, why: str) -> EngineStartError:
        return EngineStartError(
            f"engine {self._recipe.engine} did not start for model {self.models[0]!r}: {why}. "
            f"{self._recipe.advice} All it wrote: {self.output_file}",
            last_words=await run.process.last_words(),
            output_file=str(self.output_file),
        )

    async def _served_endpoints(self, client: EngineClient) -> frozenset[str]:
        if self._recipe.ask_routes:
            with contextlib.suppress(
                EngineConnectionError, EngineTimeoutError, msgspec.MsgspecError
            ):
                answer = await client.get("/openapi.json", timeout_s=30.0)
                if answer.status == 200:
                    routes = msgspec.json.decode(answer.body, type=_Routes).paths
                    return self._recipe.endpoints & routes.keys()
        return self._recipe.endpoints


class _Routes(msgspec.Struct):
    paths: dict[str, msgspec.Raw]


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's environment (hub tokens, caches, devices) without our own settings.

    Those hold secrets of other services, and vLLM complains of every VLLM_ variable it does not
    know.
    """
    return {k: v for k, v in environment.items() if not k.startswith("VLLM_BATCH_")}
