"""The service: everything is built here."""

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec

from batch_common.blobs import open_blobs
from batch_common.bus import connect_at_start
from batch_common.config import Config, Runner
from batch_common.config_file import data_dir
from batch_gpu_runner.engines.auto import choose_engine, look_at_machine
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings, engine_settings
from batch_gpu_runner.engines.version import engine_version
from batch_gpu_runner.gear import Gear
from batch_gpu_runner.gpu.library import Library, driver_library
from batch_gpu_runner.gpu.reading import Gpu
from batch_gpu_runner.gpu.watch import GpuWatch
from batch_gpu_runner.memory_record import MemoryRecord, memory_key
from batch_gpu_runner.runner import GpuRunner

_ON_GPUS: Final = frozenset({"vllm", "llamacpp"})


async def run(config: Config, stop: asyncio.Event, library: Library | None = None) -> None:
    """Runs one engine and its loop until `stop`, then hands everything back.

    `library`: what GPUs are watched with; None: the driver's. Raises EngineStartError or another
    StartError (exit code 1), ConfigError (exit code 3).
    """
    settings = _chosen(engine_settings(config.runner, state_dir(config)))
    engine = create_engine(settings)
    blobs = open_blobs(config.blobs, data_dir(config))
    gpus = GpuWatch(config.runner.gpu, library or driver_library(), os.environ)
    if _watches_gpus(config.runner, settings.engine):
        await gpus.open()
    gear = Gear(
        engine=engine,
        kind=settings.engine,
        gpus=gpus,
        record=await asyncio.to_thread(_record, settings, config.runner, gpus.gpus),
        settings=config.runner,
    )
    async with connect_at_start(config.nats, "runner", stop) as bus:
        await GpuRunner(bus, blobs, gear).run(stop)


def state_dir(config: Config) -> Path:
    """Where the engine's output and sockets go; runners of one machine need one each."""
    return (
        Path(config.runner.state_dir).expanduser()
        if config.runner.state_dir
        else (data_dir(config) / "runner")
    )


def _watches_gpus(settings: Runner, kind: str) -> bool:
    watch = settings.gpu.watch
    return watch == "always" or (watch == "auto" and kind in _ON_GPUS)


def _record(engine: EngineSettings, settings: Runner, gpus: tuple[Gpu, ...]) -> MemoryRecord:
    key = memory_key(engine.engine, engine_version(engine), settings, gpus)
    return MemoryRecord(engine.state_dir, key)


def _chosen(settings: EngineSettings) -> EngineSettings:
    """`auto` is decided here, so that others see what runs."""
    if settings.engine != "auto":
        return settings
    machine = look_at_machine(settings.interpreter())
    return msgspec.structs.replace(settings, engine=choose_engine(machine, settings.models))
