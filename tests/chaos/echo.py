"""Somebody who says again what he has heard: copies of messages, at once and much later."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from batch_common.cloudevents import MESSAGE_ID

SUBJECTS: Final = ("chunk.ready.>", "chunk.completed", "batch.>")
_COPY: Final = "Chaos-Copy"
_KEPT: Final = 2000
_ANSWER_S: Final = 2.0


class Heard(msgspec.Struct, frozen=True):
    subject: str
    body: bytes
    headers: dict[str, str]


class Echo:
    """Listens from `start` on. `copies`: those that a stream has taken."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.heard: deque[Heard] = deque(maxlen=_KEPT)
        self.copies = 0
        self._url = url
        self._client = Client()
        self._at_once: random.Random | None = None
        self._saying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._client.connect(
            self._url().split(","),
            connect_timeout=2,
            reconnect_time_wait=0.5,
            max_reconnect_attempts=-1,
            error_cb=_ignore,
        )
        for subject in SUBJECTS:
            await self._client.subscribe(subject, cb=self._hear)

    async def stop(self) -> None:
        for task in self._saying:
            task.cancel()
        await asyncio.gather(*self._saying, return_exceptions=True)
        await self._client.close()

    async def at_once(self, rng: random.Random, for_s: float) -> int:
        """Everything that is said meanwhile is said two or three times."""
        before, self._at_once = self.copies, rng
        await asyncio.sleep(for_s)
        self._at_once = None
        await asyncio.gather(*self._saying, return_exceptions=True)
        return self.copies - before

    async def later(self, rng: random.Random, count: int) -> int:
        """Of all that was ever heard; chunks also as an earlier generation offered them."""
        before = self.copies
        chosen = rng.sample(list(self.heard), min(count, len(self.heard)))
        for heard in chosen:
            await self._say(heard if rng.random() < 0.5 else _older(heard), rng)
        return self.copies - before

    async def _hear(self, message: Msg) -> None:
        headers = dict(message.headers or {})
        if _COPY in headers:
            return
        heard = Heard(message.subject, message.data, headers)
        self.heard.append(heard)
        if self._at_once is not None:
            for _ in range(self._at_once.choice((1, 2))):
                task = asyncio.create_task(self._say(heard, self._at_once))
                self._saying.add(task)
                task.add_done_callback(self._saying.discard)

    async def _say(self, heard: Heard, rng: random.Random) -> None:
        """Under its message id the stream may drop it, without one it never does."""
        headers = {**heard.headers, _COPY: "1"}
        if rng.random() < 0.7:
            headers.pop(MESSAGE_ID, None)
        js = self._client.jetstream(timeout=_ANSWER_S)
        # A chunk that still waits has its subject to itself.
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            ack = await js.publish(heard.subject, heard.body, headers=headers)
            self.copies += not ack.duplicate


def _older(heard: Heard) -> Heard:
    body: dict[str, Any] = msgspec.json.decode(heard.body)
    if "generation" in body:
        body["generation"] = max(0, int(body["generation"]) - 1)
    return msgspec.structs.replace(heard, body=msgspec.json.encode(body))


async def _ignore(_: Exception) -> None:
    """nats-py would print it."""
