"""The service: everything is built here."""

import asyncio
from pathlib import Path

import msgspec

from batch_common.blobs import open_blobs
from batch_common.bus import connect_at_start
from batch_common.config import Config
from batch_common.config_file import data_dir
from batch_gpu_runner.engines.auto import choose_engine, look_at_machine
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings, engine_settings
from batch_gpu_runner.runner import GpuRunner


async def run(config: Config, stop: asyncio.Event) -> None:
    """Runs one engine and its loop until `stop`, then hands everything back.

    Raises EngineStartError or another StartError (exit code 1), ConfigError (exit code 3).
    """
    settings = _chosen(engine_settings(config.runner, state_dir(config)))
    engine = create_engine(settings)
    blobs = open_blobs(config.blobs, data_dir(config))
    async with connect_at_start(config.nats, "runner", stop) as bus:
        await GpuRunner(bus, blobs, engine, settings.engine, config.runner).run(stop)


def state_dir(config: Config) -> Path:
    """Where the engine's output and sockets go; runners of one machine need one each."""
    return (
        Path(config.runner.state_dir).expanduser()
        if config.runner.state_dir
        else (data_dir(config) / "runner")
    )


def _chosen(settings: EngineSettings) -> EngineSettings:
    """`auto` is decided here, so that others see what runs."""
    if settings.engine != "auto":
        return settings
    machine = look_at_machine(settings.interpreter())
    return msgspec.structs.replace(settings, engine=choose_engine(machine, settings.models))
