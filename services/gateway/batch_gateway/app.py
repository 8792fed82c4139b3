"""The gateway, put together."""

import asyncio

from batch_common.blobs import open_blobs
from batch_common.bus import connect_at_start
from batch_common.completion_window import parse_windows
from batch_common.config import Config
from batch_common.config_file import data_dir
from batch_common.database_clock import database_clock
from batch_common.db import open_database
from batch_common.migrate import migrate_at_start
from batch_common.relay import Relay
from batch_common.tasks import Tasks
from batch_gateway.api import make_api
from batch_gateway.idempotency import sweep_keys
from batch_gateway.server import listen, serve
from batch_gateway.upload_sweep import UploadSweep


async def run(config: Config, stop: asyncio.Event) -> None:
    """Serves until `stop`, then drains. Raises ConfigError, StartError."""
    windows = parse_windows(config.limits.completion_windows)
    # First of all, so that a taken port is known before anything is made.
    sockets = listen(config.gateway)
    folder = data_dir(config)
    blobs = open_blobs(config.blobs, folder)
    database = open_database(config.database, folder)
    try:
        await migrate_at_start(database, stop)
        async with (
            database_clock(database),
            connect_at_start(config.nats, "gateway", stop) as bus,
            Tasks(stop) as tasks,
        ):
            api = make_api(config, windows, database, bus, blobs, stop)
            tasks.spawn("relay", Relay(database, bus).run(stop))
            tasks.spawn("upload_sweep", UploadSweep(database, blobs).run(stop))
            tasks.spawn("idempotency_sweep", sweep_keys(database, stop))
            tasks.spawn("progress", api.progress.run())
            await serve(api.app, sockets, config.gateway.drain_s, stop)
    finally:
        for sock in sockets:
            sock.close()
        await database.close()
