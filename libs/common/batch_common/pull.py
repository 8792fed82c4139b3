"""Pulling messages from a durable consumer, and the one place that settles them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from batch_common import crash_points
from batch_common.bus import Bus, bus_errors
from batch_common.cloudevents import EVENT_ID
from batch_common.errors import BusUnavailableError, TransientError
from batch_common.logs import get_log
from batch_common.tasks import wait_any

log = get_log(__name__)

_FETCH_S: Final = 3.0
_PAUSE_S: Final = 1.0


class Done(msgspec.Struct, frozen=True):
    """Settled for good: what the message asked for is a committed fact."""


class Again(msgspec.Struct, frozen=True):
    """Deliver it again, to anyone, after the delay."""

    delay_s: float


Outcome = Done | Again


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """What we want of a durable consumer. Times in seconds."""

    stream: str
    durable: str
    # One subject, or several; with wildcards or without.
    filter: str | tuple[str, ...]
    ack_wait_s: float
    max_ack_pending: int = 1000
    # Only what is published from now on, when the consumer is made for the first time.
    only_new: bool = False
    # One fetch waits for so long; stopping takes as long at most.
    fetch_s: float = _FETCH_S

    @property
    def filters(self) -> list[str]:
        return [self.filter] if isinstance(self.filter, str) else sorted(self.filter)


class Delivery:
    """One message in our hands."""

    def __init__(self, message: Msg, puller: "Puller", stream_created: str) -> None:
        self._message = message
        self._puller = puller
        self.stream_created = stream_created
        self.subject: str = message.subject
        self.data: bytes = message.data
        headers: dict[str, str] = message.headers or {}
        self.headers = headers
        self.event_id = headers.get(EVENT_ID, "")
        # 1 for the first delivery.
        self.attempt: int = message.metadata.num_delivered

    async def in_progress(self) -> None:
        """Restarts `ack_wait`."""
        with bus_errors("keep a message alive"):
            await self._message.in_progress()

    async def settle(self, outcome: Outcome) -> bool:
        """The only place that acks. False: the stream is another one now, nothing was settled.

        After a wiped stream sequences start again, so an old ack would delete somebody
        else's message.
        """
        if not await self._puller.is_current(self.stream_created):
            log.warning("settle_skipped", subject=self.subject, reason="stream made anew")
            return False
        with bus_errors("settle a message"):
            match outcome:
                case Done():
                    await crash_points.before(f"ack {self._puller.stream}")
                    await self._message.ack_sync(timeout=5)
                    await crash_points.after(f"ack {self._puller.stream}")
                case Again(delay_s=delay_s):
                    await crash_points.before(f"nak {self._puller.stream}")
                    await self._message.nak(delay=delay_s)
                    await crash_points.after(f"nak {self._puller.stream}")
        return True


class Puller:
    """Fetches from one durable consumer; makes it, and the streams, whenever they are gone."""

    def __init__(self, bus: Bus, consumer: Consumer) -> None:
        self._bus = bus
        self._consumer = consumer
        self._subscription: Any = None
        self._created = ""
        self._epoch = -1

    async def fetch(self) -> Delivery | None:
        """The next message, or None after a few seconds without one.

        Raises BusUnavailableError; the caller pauses before it calls again. Not to be
        cancelled in mid-fetch: the delivery would stay in the client's buffer and come out
        stale. Ask it to end by waiting for it to return.
        """
        try:
            if self._subscription is None or self._epoch != self._bus.epoch:
                await self._bind()
            with bus_errors(f"fetch from {self._consumer.stream}"):
                [message] = await self._subscription.fetch(1, timeout=self._consumer.fetch_s)
            return Delivery(message, self, self._created)
        except BusUnavailableError as error:
            if isinstance(error.__cause__, nats.errors.TimeoutError) and await self._same_stream():
                return None
            await self._unbind()
            raise

    @property
    def stream(self) -> str:
        return self._consumer.stream

    async def is_current(self, stream_created: str) -> bool:
        """Whether the stream is still the one a delivery came from."""
        try:
            head = await self._bus.stream_head(self._consumer.stream)
        except BusUnavailableError as error:
            if isinstance(error.__cause__, nats.js.errors.NotFoundError):
                return False
            raise
        return head.created == stream_created

    async def close(self) -> None:
        await self._unbind()

    async def _same_stream(self) -> bool:
        """A fetch on a lost stream ends in a plain time-out, like one on an empty stream."""
        if self._epoch != self._bus.epoch:
            return False
        with bus_errors(f"look at the consumer {self._consumer.durable}"):
            info = await self._bus.js.consumer_info(self._consumer.stream, self._consumer.durable)
        return info is not None and await self.is_current(self._created)

    async def _bind(self) -> None:
        await self._unbind()
        epoch = self._bus.epoch
        await self._bus.ensure_topology()
        await self._ensure_consumer()
        created = (await self._bus.stream_head(self._consumer.stream)).created
        with bus_errors(f"bind to {self._consumer.durable}"):
            self._subscription = await self._bus.js.pull_subscribe_bind(
                consumer=self._consumer.durable, stream=self._consumer.stream
            )
        self._created, self._epoch = created, epoch

    async def _ensure_consumer(self) -> None:
        wanted = self._consumer
        with bus_errors(f"set up the consumer {wanted.durable}"):
            try:
                found = await self._bus.js.consumer_info(wanted.stream, wanted.durable)
            except nats.js.errors.NotFoundError:
                await self._bus.js.add_consumer(wanted.stream, _config(wanted))
                return
        # The server changes an existing consumer without a word, so only ask it to when needed.
        settings = (found.config.ack_wait, _filters(found.config), found.config.max_deliver)
        if settings != (wanted.ack_wait_s, wanted.filters, -1):
            log.warning("consumer_changed", durable=wanted.durable, ack_wait_s=wanted.ack_wait_s)
            with bus_errors(f"change the consumer {wanted.durable}"):
                await self._bus.js.add_consumer(wanted.stream, _config(wanted, found.config))

    async def _unbind(self) -> None:
        if self._subscription is None:
            return
        subscription, self._subscription = self._subscription, None
        try:
            await subscription.unsubscribe()
        except nats.errors.Error as error:
            log.debug("unsubscribe_failed", error=str(error))


def _config(wanted: Consumer, existing: ConsumerConfig | None = None) -> ConsumerConfig:
    start = DeliverPolicy.NEW if wanted.only_new else DeliverPolicy.ALL
    return ConsumerConfig(
        durable_name=wanted.durable,
        deliver_policy=existing.deliver_policy if existing else start,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=wanted.ack_wait_s,
        max_deliver=-1,
        filter_subject=wanted.filters[0] if len(wanted.filters) == 1 else None,
        filter_subjects=wanted.filters if len(wanted.filters) > 1 else None,
        max_ack_pending=wanted.max_ack_pending,
    )


def _filters(config: ConsumerConfig) -> list[str]:
    one = [config.filter_subject] if config.filter_subject else []
    return sorted(config.filter_subjects or one)


async def consume(
    puller: Puller, handle: Callable[[Delivery], Awaitable[Outcome]], stop: asyncio.Event
) -> None:
    """Handles messages one after another until `stop`.

    A TransientError from `handle` brings the message back after a pause; any other exception
    ends the task with the message unsettled, for redelivery to a healthy process.
    """
    try:
        while not stop.is_set():
            try:
                delivery = await puller.fetch()
                if delivery is not None:
                    await delivery.settle(await _outcome(handle, delivery))
            except BusUnavailableError as error:
                log.warning("pull_failed", error=str(error))
                await wait_any(stop, timeout_s=_PAUSE_S)
    finally:
        await puller.close()


async def _outcome(handle: Callable[[Delivery], Awaitable[Outcome]], delivery: Delivery) -> Outcome:
    try:
        return await handle(delivery)
    except TransientError as error:
        log.warning("handle_failed", subject=delivery.subject, error=str(error))
        return Again(delay_s=min(2.0**delivery.attempt, 30.0))
