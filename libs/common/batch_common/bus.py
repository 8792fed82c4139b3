"""NATS, as the services use it: publish, ask, answer, pull.

Every fault of the connection or of JetStream surfaces as BusUnavailableError.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from batch_common import crash_points
from batch_common.cloudevents import MESSAGE_ID
from batch_common.config import Nats
from batch_common.errors import BusUnavailableError, ConfigError, StartError
from batch_common.logs import get_log
from batch_common.process_metrics import NATS_CONNECTED, NATS_RECONNECTS
from batch_common.subjects import event_of
from batch_common.tasks import wait_any
from batch_common.topology import ensure_topology

log = get_log(__name__)

_REQUEST_S: Final = 5.0
_CLOSE_S: Final = 3.0
# Tries at each server before the first connect gives up; they are a second apart.
_FIRST_ATTEMPTS: Final = 1
# The first connect may take this long for each server: nats-py waits for ever for the end of a
# connection whose TLS handshake has failed.
_FIRST_S: Final = 15.0
# A machine that is gone breaks no connection; after so many unanswered pings it is given up.
_PING_S: Final = 5
_PINGS: Final = 2
# The subject holds a message already: it is queued, which is what was wanted.
_SUBJECT_FULL: Final = 10077


class Published(msgspec.Struct, frozen=True):
    """Where a message stands. `seq` 0: the stream already held it."""

    stream_created: str
    seq: int
    duplicate: bool


class StreamHead(msgspec.Struct, frozen=True):
    """`created` tells one life of a stream from the next: sequences start again in each."""

    created: str
    last_seq: int
    messages: int


class Bus:
    """One connection. Made by `connect`."""

    def __init__(self, client: Client, replicas: int) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=_REQUEST_S)
        self._replicas = replicas
        self._created: dict[str, str] = {}
        # Counts reconnections; whatever was read before may be from another store.
        self.epoch = 0
        # Why the server has ended the connection for good; nothing here makes another one.
        self.ended_by_server = ""
        self._leaving = False

    def reconnected(self) -> None:
        """What was known of the streams may be of a store that is gone."""
        self.epoch += 1
        self._created.clear()
        NATS_CONNECTED.set(1)
        NATS_RECONNECTS.inc()

    def closed(self) -> bool:
        """nats-py has given the connection up. False: because we leave."""
        if not self._leaving:
            self.ended_by_server = str(self.client.last_error or "no reason given")
            log.error("nats_connection_ended", error=self.ended_by_server)
        return not self._leaving

    async def ensure_topology(self) -> None:
        """Makes streams and bucket where they are missing."""
        with bus_errors("set up the streams"):
            await ensure_topology(self.js, self._replicas)

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str]
    ) -> Published:
        """Returns once the stream has it; a repeat of `message_id` or of a full subject is fine."""
        point = f"publish {event_of(subject)}"
        with bus_errors(f"publish on {subject}"):
            await crash_points.before(point)
            try:
                ack = await self.js.publish(
                    subject, body, timeout=_REQUEST_S, headers={**headers, MESSAGE_ID: message_id}
                )
            except nats.js.errors.APIError as error:
                if error.err_code != _SUBJECT_FULL:
                    raise
                return Published("", 0, duplicate=True)
            except nats.js.errors.NoStreamResponseError:
                # The store was lost under us; the caller's retry finds the stream made anew.
                self._created.clear()
                await ensure_topology(self.js, self._replicas)
                raise
            created = await self._stream_created(ack.stream)
            await crash_points.after(point)
            return Published(created, ack.seq, bool(ack.duplicate))

    async def _stream_created(self, stream: str) -> str:
        if stream not in self._created:
            self._created[stream] = (await self.stream_head(stream)).created
        return self._created[stream]

    async def stream_head(self, stream: str) -> StreamHead:
        with bus_errors(f"look at the stream {stream}"):
            info = await self.js.stream_info(stream)
            head = StreamHead(str(info.created), info.state.last_seq, info.state.messages)
            self._created[stream] = head.created
            return head

    async def holds(self, stream: str, subject: str) -> bool:
        """Whether a message on `subject` is still in the stream (delivered or not)."""
        with bus_errors(f"look for {subject}"):
            try:
                await self.js.get_last_msg(stream, subject)
            except nats.js.errors.NotFoundError:
                return False
            return True

    async def purge(self, stream: str, subject: str) -> None:
        """Removes the messages on `subject`."""
        with bus_errors(f"purge {subject}"):
            await self.js.purge_stream(stream, subject=subject)

    async def ask(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """Request and reply."""
        with bus_errors(f"ask {subject}"):
            await crash_points.before(f"ask {subject}")
            reply: Msg = await self.client.request(subject, body, timeout=timeout_s)
            await crash_points.after(f"ask {subject}")
            return bytes(reply.data)

    async def echo(self, timeout_s: float) -> None:
        """A message to ourselves: whether the connection carries, whatever JetStream does."""
        inbox = self.client.new_inbox()
        with bus_errors("hear from the server"):
            subscription = await self.client.subscribe(inbox)
            try:
                await self.client.publish(inbox)
                await subscription.next_msg(timeout=timeout_s)
            finally:
                await subscription.unsubscribe()

    @asynccontextmanager
    async def answering(
        self, subject: str, queue: str, answer: Callable[[bytes], Awaitable[bytes | None]]
    ) -> AsyncIterator[None]:
        """Answers requests on `subject` within the block; None leaves a request unanswered.

        One member of `queue` gets each. Requests are answered side by side.
        """
        running: set[asyncio.Task[None]] = set()

        async def reply(message: Msg) -> None:
            with bus_errors(f"answer {subject}"):
                body = await answer(message.data)
                if body is not None:
                    await crash_points.before(f"answer {subject}")
                    await message.respond(body)
                    await crash_points.after(f"answer {subject}")

        async def on_message(message: Msg) -> None:
            task = asyncio.create_task(reply(message), name=f"answer {subject}")
            running.add(task)
            task.add_done_callback(lambda done: _finished(running, done, subject))

        with bus_errors(f"subscribe to {subject}"):
            subscription = await self.client.subscribe(subject, queue=queue, cb=on_message)
        try:
            yield
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
            await asyncio.gather(*running, return_exceptions=True)

    async def close(self) -> None:
        """The wire closes last: everything else has stopped by now."""
        self._leaving = True
        # A connection that is broken already raises plain OSErrors here.
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.client.flush(timeout=2)
        # It waits for the server to take what is left to send, and a hanging one never does.
        with contextlib.suppress(nats.errors.Error, OSError):
            await asyncio.wait_for(self.client.close(), _CLOSE_S)


def _finished(running: set[asyncio.Task[None]], task: asyncio.Task[None], subject: str) -> None:
    running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("answer_failed", subject=subject, error=str(error), kind=type(error).__name__)


@contextmanager
def bus_errors(doing: str) -> Iterator[None]:
    """Maps what nats-py raises."""
    try:
        yield
    except (TimeoutError, nats.errors.Error, OSError) as error:
        kind = type(error).__name__
        raise BusUnavailableError(
            f"NATS: could not {doing}: {str(error) or kind} ({kind})"
        ) from error


@asynccontextmanager
async def connect(
    settings: Nats, name: str, on_end: Callable[[], None] = lambda: None
) -> AsyncIterator[Bus]:
    """A connected bus whose streams exist; reconnects by itself, for ever.

    `on_end` is called when the server ends the connection with an error: there is no reconnecting
    after that (credentials that ran out while connected, for one).

    Raises BusUnavailableError when no server answers at first, StreamConflictError when an
    existing stream is in the way.
    """
    client = Client()
    box: list[Bus] = []
    last: list[Exception] = []

    async def on_reconnect() -> None:
        log.info("nats_reconnected")
        if box:
            box[0].reconnected()

    async def on_disconnect() -> None:
        NATS_CONNECTED.set(0)
        log.warning("nats_disconnected")

    async def on_closed() -> None:
        if box and box[0].closed():
            on_end()

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        if box:
            log.warning("nats_error", error=str(error), kind=type(error).__name__)

    urls = [url.strip() for url in settings.url.reveal().split(",")]
    try:
        with bus_errors("connect"):
            async with asyncio.timeout(_FIRST_S * len(urls)):
                await client.connect(
                    urls,
                    name=name,
                    # An inbox of its own, so that an account can keep replies from other services.
                    inbox_prefix=f"_INBOX.{name}",
                    connect_timeout=5,
                    reconnect_time_wait=1,
                    max_reconnect_attempts=_FIRST_ATTEMPTS,
                    ping_interval=_PING_S,
                    max_outstanding_pings=_PINGS,
                    allow_reconnect=True,
                    reconnected_cb=on_reconnect,
                    disconnected_cb=on_disconnect,
                    error_cb=on_error,
                    closed_cb=on_closed,
                    **credentials(settings),
                )
    except BusUnavailableError as error:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.close(), _CLOSE_S)
        raise _no_server(last, error) from error
    # Set before, this would keep the very first connect trying for ever.
    client.options["max_reconnect_attempts"] = -1
    bus = Bus(client, settings.replicas)
    box.append(bus)
    NATS_CONNECTED.set(1)
    try:
        await bus.ensure_topology()
        yield bus
    finally:
        await bus.close()


def _no_server(last: list[Exception], error: BusUnavailableError) -> BusUnavailableError:
    """nats-py says only that no server is left; the reason is what it told its error callback."""
    if not last:
        return error
    kind = type(last[0]).__name__
    return BusUnavailableError(f"NATS: could not connect: {str(last[0]) or kind} ({kind})")


@asynccontextmanager
async def connect_at_start(
    settings: Nats, name: str, stop: asyncio.Event, within_s: float = 30.0
) -> AsyncIterator[Bus]:
    """`connect` for a service that starts beside its NATS server: tries again for `within_s`.

    Raises StartError when no server answers until then, or `stop` is set first. Should the server
    end the connection later, `stop` is set, and StartError raised at the end of the block: a
    process that starts again connects again.
    """
    deadline = time.monotonic() + within_s
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                bus = await stack.enter_async_context(connect(settings, name, stop.set))
                break
            except BusUnavailableError as error:
                if stop.is_set() or time.monotonic() > deadline:
                    raise StartError(f"{error}: start a NATS server, or set nats.url") from error
                log.warning("nats_not_there_yet", error=str(error))
                await wait_any(stop, timeout_s=1.0)
        yield bus
        if bus.ended_by_server:
            raise StartError(
                f"the NATS server ended the connection: {bus.ended_by_server}. Check nats.user and "
                "nats.password, or nats.credentials"
            )


def credentials(settings: Nats) -> dict[str, Any]:
    """As nats-py takes them. Raises ConfigError."""
    if settings.credentials and settings.user:
        raise ConfigError("set nats.credentials or nats.user, not both")
    if settings.credentials:
        return {"user_credentials": settings.credentials}
    if settings.user:
        return {"user": settings.user, "password": settings.password.reveal()}
    return {}
