"""Terminal events wake the sinks; what is to be done stands in the rows."""

import asyncio

from batch_common import subjects
from batch_common.bus import Bus
from batch_common.events import TERMINAL_TYPES
from batch_common.pull import Consumer, Delivery, Done, Outcome, Puller, consume


def consumer(sink: str) -> Consumer:
    """The durable that the sinks processes share. What ended before it was made has its rows."""
    return Consumer(
        stream=subjects.BATCHES,
        durable=f"sink-{sink}",
        filter=TERMINAL_TYPES,
        ack_wait_s=30.0,
        only_new=True,
    )


async def wake_on_events(bus: Bus, sink: str, wake: asyncio.Event, stop: asyncio.Event) -> None:
    """Settles at once: an event without a row asks for nothing, and a row needs no event."""

    async def handle(_: Delivery) -> Outcome:
        wake.set()
        return Done()

    await consume(Puller(bus, consumer(sink)), handle, stop)
