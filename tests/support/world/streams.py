"""JetStream as data: it forgets what it is told to forget, and nothing by itself."""

from collections.abc import Mapping
from typing import Any

import msgspec

from batch_common import crash_points, subjects
from batch_common.bus import Published, StreamHead
from batch_common.errors import BusUnavailableError


class Message(msgspec.Struct, frozen=True):
    """`seq` tells a message from a later one on the same subject."""

    seq: int
    subject: str
    body: bytes


class Streams:
    """What services call of a Bus, with the server's rules: one chunk to a subject, ids once."""

    def __init__(self) -> None:
        self.life = 1
        self._seq = 0
        self._ids: set[str] = set()
        self.ready: dict[str, Message] = {}
        self.completions: list[Message] = []
        self.events: list[tuple[str, bytes]] = []

    @property
    def js(self) -> Any:
        """Runners announce themselves elsewhere."""
        raise BusUnavailableError("there is no bucket")

    async def publish(
        self, subject: str, body: bytes, message_id: str, _headers: Mapping[str, str]
    ) -> Published:
        point = f"publish {subjects.event_of(subject)}"
        await crash_points.before(point)
        if message_id in self._ids:
            return Published(f"life {self.life}", self._seq, duplicate=True)
        if subject in self.ready:
            return Published("", 0, duplicate=True)
        self._ids.add(message_id)
        self._seq += 1
        self._keep(Message(self._seq, subject, body), message_id)
        await crash_points.after(point)
        return Published(f"life {self.life}", self._seq, duplicate=False)

    def _keep(self, message: Message, message_id: str) -> None:
        if message.subject == subjects.CHUNK_COMPLETED:
            self.completions.append(message)
        elif message.subject.startswith("chunk.ready."):
            self.ready[message.subject] = message
        else:
            self.events.append((message_id, message.body))

    async def stream_head(self, _stream: str) -> StreamHead:
        return StreamHead(f"life {self.life}", self._seq, len(self.ready))

    async def holds(self, stream: str, subject: str) -> bool:
        assert stream == subjects.CHUNKS
        return subject in self.ready

    async def purge(self, stream: str, subject: str) -> None:
        assert stream == subjects.CHUNKS
        self.ready.pop(subject, None)

    def ack(self, message: Message) -> None:
        """Of a message that another has replaced, the server takes no notice."""
        if self.ready.get(message.subject) == message:
            del self.ready[message.subject]

    def lose_store(self) -> None:
        """The directory was deleted: everything is gone, ids and sequences start again."""
        self.life += 1
        self._seq = 0
        self._ids.clear()
        self.ready.clear()
        self.completions.clear()
