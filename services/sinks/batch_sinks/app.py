"""The sinks service, put together."""

import asyncio
import contextlib
from typing import Final

from batch_common import subjects
from batch_common.blobs import open_blobs
from batch_common.bus import Bus, connect_at_start
from batch_common.config import Config
from batch_common.config_file import data_dir
from batch_common.database_clock import database_clock
from batch_common.db import Database, open_database
from batch_common.logs import get_log
from batch_common.migrate import migrate_at_start
from batch_common.relay import Relay
from batch_common.tasks import Tasks
from batch_sinks import metrics
from batch_sinks.deliverer import Deliverer
from batch_sinks.ended import EndedBatches
from batch_sinks.registry import make_api_sinks, make_sinks
from batch_sinks.sink import Sink
from batch_sinks.wake import wake_on_events
from batch_sinks.webhook import Endpoints, Tester

log = get_log(__name__)

# Members of this queue group share the requests of gateways.
_QUEUE: Final = "sinks"


async def run(config: Config, stop: asyncio.Event) -> None:
    """Delivers until `stop`. Raises ConfigError, StartError."""
    async with contextlib.AsyncExitStack() as stack:
        sinks = [*make_sinks(config.sinks)]
        database = open_database(config.database, data_dir(config))
        stack.push_async_callback(database.close)
        endpoints = Endpoints(database)
        sinks += make_api_sinks(config.sinks.webhook, endpoints)
        tester = Tester(config.sinks.webhook, endpoints)
        for close in (tester.close, *(sink.close for sink in sinks)):
            stack.push_async_callback(close)
        await migrate_at_start(database, stop)
        async with database_clock(database), connect_at_start(config.nats, "sinks", stop) as bus:
            batches = EndedBatches(database, open_blobs(config.blobs, data_dir(config)))
            async with bus.answering(subjects.WEBHOOK_TEST, _QUEUE, tester.answer):
                await _serve(database, bus, sinks, batches, config.sinks.retry_for_s, stop)


async def _serve(
    database: Database,
    bus: Bus,
    sinks: list[Sink],
    batches: EndedBatches,
    retry_for_s: float,
    stop: asyncio.Event,
) -> None:
    metrics.begin([sink.name for sink in sinks])
    log.info("sinks_started", sinks=[sink.name for sink in sinks])
    async with Tasks(stop) as tasks:
        running = {tasks.spawn("relay", Relay(database, bus).run(stop))}
        for sink in sinks:
            deliverer = Deliverer(database, sink, batches, retry_for_s)
            running |= {
                tasks.spawn(f"sink {sink.name}", deliverer.run(stop)),
                tasks.spawn(
                    f"events for {sink.name}",
                    wake_on_events(bus, sink.name, deliverer.wake, stop),
                ),
            }
        # Each ends by itself on `stop`: a fetch that is cancelled leaves a stale delivery.
        await asyncio.wait(running)
