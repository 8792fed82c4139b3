"""A subscriber of the events: reads all that BATCHES ever holds, through every loss of it."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from batch_common.subjects import BATCHES

_PAUSE_S = 1.0


class SeenEvent(msgspec.Struct, frozen=True):
    """One event as it stood in the stream. id: its `ce-id`."""

    id: str
    type: str
    batch_id: str
    body: dict[str, object]


class Subscriber:
    """Keeps no state in NATS, so that losing the store costs it nothing but a second look."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.events: list[SeenEvent] = []
        self._url = url
        self._created = ""
        self._next = 1

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                client = Client()
                try:
                    await client.connect(
                        self._url().split(","),
                        max_reconnect_attempts=1,
                        connect_timeout=2,
                        error_cb=_ignore,
                    )
                    while True:
                        await self._catch_up(client)
                        await asyncio.sleep(_PAUSE_S)
                finally:
                    await client.close()
            await asyncio.sleep(_PAUSE_S)

    def of(self, batch_id: str) -> list[SeenEvent]:
        return [event for event in self.events if event.batch_id == batch_id]

    async def _catch_up(self, client: Client) -> None:
        js = client.jetstream(timeout=2)
        info = await js.stream_info(BATCHES)
        if str(info.created) != self._created:
            self._created, self._next = str(info.created), 1
        while self._next <= info.state.last_seq:
            try:
                self._note(await js.get_msg(BATCHES, seq=self._next))
            except nats.js.errors.NotFoundError:
                # Not there, or not there any more: the stream may have been lost since.
                if str((await js.stream_info(BATCHES)).created) != self._created:
                    return
            self._next += 1

    def _note(self, message: RawStreamMsg) -> None:
        body = msgspec.json.decode(message.data or b"{}")
        headers = message.headers or {}
        self.events.append(SeenEvent(headers["ce-id"], headers["ce-type"], body["batch_id"], body))


async def _ignore(_: Exception) -> None:
    """Its connection breaks as often as a fault wants it to."""
