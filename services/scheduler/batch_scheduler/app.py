"""The scheduler, put together: claims are answered always, the loops run under the lease."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from batch_common import clock
from batch_common.blobs import open_blobs
from batch_common.bus import Bus, connect_at_start
from batch_common.config import Config
from batch_common.config_file import data_dir
from batch_common.database_clock import database_clock
from batch_common.db import Database, open_database
from batch_common.events import BatchCancelling, BatchSubmitted
from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_common.migrate import migrate_at_start
from batch_common.pull import Consumer, Delivery, Done, Outcome, Puller, consume
from batch_common.relay import Relay
from batch_common.subjects import (
    BATCH_EVENTS,
    BATCHES,
    CHUNK_CLAIM,
    CHUNK_COMPLETED,
    RESULTS,
)
from batch_common.tasks import Tasks, repeat
from batch_scheduler import plans
from batch_scheduler.claims import Claims
from batch_scheduler.close import close
from batch_scheduler.collect import LOOK_S, Collector
from batch_scheduler.commit import commit_delivery
from batch_scheduler.context import PASSING, Context
from batch_scheduler.deliveries import sinks_of
from batch_scheduler.finalise import finalise
from batch_scheduler.fleet import Fleet
from batch_scheduler.lease import Lease
from batch_scheduler.margin import hide_fleet, show_fleet
from batch_scheduler.measure import EVERY_S, Measure
from batch_scheduler.metrics import LEASE, begin
from batch_scheduler.plans import PlanWatch
from batch_scheduler.rates import Rates
from batch_scheduler.reach import Reach
from batch_scheduler.reconcile import reconcile
from batch_scheduler.release import Releaser
from batch_scheduler.sweep import sweep_batches, sweep_endpoints, sweep_files
from batch_scheduler.validate import Validator
from batch_scheduler.wakes import Wakes

log = get_log(__name__)

QUEUE: Final = "schedulers"
_ACK_WAIT_S: Final = 30.0
_FETCH_S: Final = 1.0
# Loops end after the item in hand; what takes longer is cut off and done again by the next.
_DRAIN_S: Final = 10.0
_SWEEP_S: Final = 60.0
_EVENTS: Final = Consumer(
    stream=BATCHES,
    durable="scheduler",
    filter=BATCH_EVENTS,
    ack_wait_s=_ACK_WAIT_S,
    only_new=True,
    fetch_s=_FETCH_S,
)
_COMPLETIONS: Final = Consumer(
    stream=RESULTS,
    durable="scheduler",
    filter=CHUNK_COMPLETED,
    ack_wait_s=_ACK_WAIT_S,
    fetch_s=_FETCH_S,
)


async def run(config: Config, stop: asyncio.Event) -> None:
    """Schedules until `stop`. Raises ConfigError, StartError."""
    folder = data_dir(config)
    database = open_database(config.database, folder)
    try:
        await migrate_at_start(database, stop)
        async with (
            database_clock(database),
            connect_at_start(config.nats, "scheduler", stop) as bus,
        ):
            await _serve(_context(config, folder, database, bus), stop)
    finally:
        await database.close()


def _context(config: Config, folder: Path, database: Database, bus: Bus) -> Context:
    spool_dir = config.scheduler.spool_dir
    return Context(
        config=config,
        database=database,
        blobs=open_blobs(config.blobs, folder),
        bus=bus,
        spool_dir=Path(spool_dir).expanduser() if spool_dir else folder / "spool",
        fleet=Fleet(config),
        rates=Rates(),
        wakes=Wakes(),
        began=clock.now(),
    )


async def _serve(context: Context, stop: asyncio.Event) -> None:
    settings = context.config.scheduler
    begin()
    claims = Claims(context.database, settings.claim_ttl_s, context.wakes)
    relay = Relay(context.database, context.bus)
    holder = f"{socket.gethostname()}:{os.getpid()}:{new_id('')}"
    # With a standby's next look this stays within 15 s for the default lease.
    reach = Reach(context.bus, settings.lease_ttl_s * 0.6)
    lease = Lease(context.database, holder, settings.lease_ttl_s, reach)
    async with (
        context.bus.answering(CHUNK_CLAIM, QUEUE, claims.answer),
        Tasks(stop) as tasks,
    ):
        running = {
            tasks.spawn("relay", relay.run(stop)),
            tasks.spawn("outbox_audit", relay.audit(stop)),
            tasks.spawn("reach", reach.watch(stop)),
            tasks.spawn("measure", _measure(context, stop)),
            tasks.spawn("tenures", _tenures(context, lease, stop)),
        }
        log.info("scheduler_started", holder=holder)
        await asyncio.wait(running)


async def _measure(context: Context, stop: asyncio.Event) -> None:
    """Nothing where nobody asks for metrics."""
    if not context.config.metrics.port:
        await stop.wait()
        return
    look = Measure(context.database, sinks_of(context.config.sinks)).look
    never = asyncio.Event()
    await repeat("measure", look, wake=never, stop=stop, every_s=EVERY_S, catch=PASSING)


async def _tenures(context: Context, lease: Lease, stop: asyncio.Event) -> None:
    """From one lease to the next."""
    while await lease.acquire(stop):
        ended = asyncio.Event()
        LEASE.set(1)
        async with Tasks(ended) as tasks:
            tasks.spawn("lease", lease.keep(ended))
            tasks.spawn("stop", _pass_on(stop, ended))
            loops = {tasks.spawn(name, loop) for name, loop in _loops(context, ended).items()}
            await ended.wait()
            await asyncio.wait(loops, timeout=_DRAIN_S)
        LEASE.set(0)
        hide_fleet()
        log.info("tenure_ended", stopping=stop.is_set())
    with suppress(*PASSING):  # a standby then waits until the lease runs out
        await lease.give_back()


async def _pass_on(stop: asyncio.Event, ended: asyncio.Event) -> None:
    await stop.wait()
    ended.set()


def _loops(context: Context, ended: asyncio.Event) -> dict[str, Coroutine[Any, Any, None]]:
    wakes, settings = context.wakes, context.config.scheduler
    small, large = Validator(context, large=False), Validator(context, large=True)
    releaser = Releaser(context)

    def loop(
        name: str,
        work: Callable[[], Awaitable[bool]],
        wake: asyncio.Event | None = None,
        every_s: float = settings.poll_s,
    ) -> Coroutine[Any, Any, None]:
        wake = wake or asyncio.Event()
        return repeat(name, work, wake=wake, stop=ended, every_s=every_s, catch=PASSING)

    shown = {}
    if context.config.metrics.port:
        shown["margin"] = loop("margin", partial(show_fleet, context), every_s=EVERY_S)
    return shown | {
        "fleet": loop("fleet", partial(_look, context)),
        "validate_small": loop("validate_small", small.validate, wakes.validate_small),
        "validate_large": loop("validate_large", large.validate, wakes.validate_large),
        "release": loop("release", releaser.release, wakes.release),
        "close": loop("close", partial(close, context), wakes.close),
        "finalise": loop("finalise", partial(finalise, context), wakes.finalise),
        "plans": loop("plans", PlanWatch(context).look, wakes.plans, plans.EVERY_S),
        "reconcile": loop("reconcile", partial(reconcile, context), every_s=settings.reconcile_s),
        "sweep_batches": loop("sweep_batches", partial(sweep_batches, context), wakes.sweep),
        "collect": loop("collect", Collector(context).look, every_s=LOOK_S),
        "sweep_files": loop("sweep_files", partial(sweep_files, context), every_s=_SWEEP_S),
        "sweep_endpoints": loop(
            "sweep_endpoints", partial(sweep_endpoints, context), every_s=_SWEEP_S
        ),
        "events": consume(Puller(context.bus, _EVENTS), partial(_on_event, context), ended),
        "completions": consume(
            Puller(context.bus, _COMPLETIONS), partial(commit_delivery, context), ended
        ),
    }


async def _look(context: Context) -> bool:
    """Who runs at the moment; a model that appears has places to fill at once."""
    await context.look_at_fleet()
    await context.fleet.remember(context.database)
    return False


async def _on_event(context: Context, delivery: Delivery) -> Outcome:
    """Events are wake-ups: what there is to do, the rows say."""
    match delivery.subject:
        case BatchSubmitted.type:
            context.wakes.submitted()
        case BatchCancelling.type:
            context.wakes.cancelling()
    return Done()
