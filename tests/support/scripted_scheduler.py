"""What a runner sees of a scheduler: plans, chunk messages, claim answers, completions."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import numpy as np

from batch_common import keys, subjects
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.cloudevents import headers
from batch_common.errors import BusUnavailableError
from batch_common.events import ChunkClaim, ChunkCompleted, ChunkReady, ClaimAnswer, decode, encode
from batch_common.formats.manifest import Manifest, ObjectRef, decode_manifest
from batch_common.formats.plan import RECORD
from batch_common.ids import new_id
from batch_common.pull import Consumer, Delivery, Done, Outcome, Puller, consume
from support.requests import CHAT, chat_line
from support.wait import until

Answering = Callable[[ChunkClaim], str | None]


def go(claim: ChunkClaim) -> str | None:
    return "go"


class ScriptedScheduler:
    """Made by `scripted_scheduler`. `answer` decides every claim; None leaves it unanswered."""

    def __init__(self, bus: Bus, blobs: BlobStore) -> None:
        self.bus = bus
        self.blobs = blobs
        self.answer: Answering = go
        self.claims: list[ChunkClaim] = []
        self.completions: list[ChunkCompleted] = []
        self.headers: list[dict[str, str]] = []

    async def plan(
        self, prompts: list[str], *, chunk_size: int = 0, model: str = "sim", endpoint: str = CHAT
    ) -> list[ChunkReady]:
        """A planned batch, one line for each prompt (custom id: `r<number>`), cut into chunks."""
        lines = [
            msgspec.json.encode(chat_line(f"r{at}", prompt, model)) + b"\n"
            for at, prompt in enumerate(prompts)
        ]
        batch_id = new_id("batch_")
        index = np.zeros(len(lines), dtype=RECORD)
        index["length"] = [len(line) for line in lines]
        # The user's file had them the other way round.
        index["line"] = np.arange(len(lines), 0, -1)
        await self.blobs.put(keys.plan_input(batch_id), b"".join(lines))
        await self.blobs.put(keys.plan_index(batch_id), index.tobytes())
        size = chunk_size or len(lines)
        ends = [0, *np.cumsum(index["length"], dtype=np.int64).tolist()]
        return [
            self._chunk(batch_id, model, endpoint, (at, min(at + size, len(lines))), ends)
            for at in range(0, len(lines), size)
        ]

    def _chunk(
        self, batch_id: str, model: str, endpoint: str, lines: tuple[int, int], ends: list[int]
    ) -> ChunkReady:
        chunk = new_id("chunk_")
        first, end = lines
        return ChunkReady(
            chunk=chunk,
            generation=1,
            batch_id=batch_id,
            model=model,
            endpoint=endpoint,
            input_key=keys.plan_input(batch_id),
            index_key=keys.plan_index(batch_id),
            first_line=first,
            end_line=end,
            first_byte=ends[first],
            end_byte=ends[end],
            prefix=keys.chunk_prefix(batch_id, chunk),
            deadline=int(time.time()) + 86400,
        )

    async def release(self, *chunks: ChunkReady) -> None:
        for ready in chunks:
            name = f"{ready.chunk}:{ready.generation}"
            about = headers(name, ready.type, "scheduler", time.time(), "00-aa-bb-01")
            subject = subjects.chunk_ready(ready.model, ready.chunk)
            await self._publish(subject, encode(ready), name, about)

    async def _publish(self, subject: str, body: bytes, name: str, about: dict[str, str]) -> None:
        """The outbox publishes again until the stream has it."""
        for _ in range(20):
            with contextlib.suppress(BusUnavailableError):
                await self.bus.publish(subject, body, name, about)
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{subject} could not be published")

    def completion(self, ready: ChunkReady) -> ChunkCompleted | None:
        return next((each for each in self.completions if each.chunk == ready.chunk), None)

    async def completed(self, ready: ChunkReady, within_s: float = 20) -> Manifest:
        """The chunk's manifest, once its completion has come."""
        await until(
            lambda: self.completion(ready) is not None,
            within_s=within_s,
            what=f"completion of {ready.chunk}",
        )
        found = self.completion(ready)
        assert found is not None
        return decode_manifest(await self.blobs.get(found.manifest_key))

    async def lines(self, ref: ObjectRef | None) -> list[dict[str, Any]]:
        """The result lines of an object."""
        if ref is None:
            return []
        data = await self.blobs.get(ref.key)
        assert len(data) == ref.bytes
        assert data.endswith(b"\n")
        lines = data[:-1].split(b"\n")
        assert len(lines) == ref.lines
        return [msgspec.json.decode(line) for line in lines]

    async def settled(self, ready: ChunkReady) -> bool:
        """Whether the chunk's message is gone from the stream."""
        return not await self.bus.holds(
            subjects.CHUNKS, subjects.chunk_ready(ready.model, ready.chunk)
        )

    async def on_claim(self, body: bytes) -> bytes | None:
        claim = decode(body, ChunkClaim)
        self.claims.append(claim)
        answer = self.answer(claim)
        return encode(ClaimAnswer(answer)) if answer else None  # type: ignore[arg-type]

    async def on_completed(self, delivery: Delivery) -> Outcome:
        self.completions.append(decode(delivery.data, ChunkCompleted))
        self.headers.append(delivery.headers)
        return Done()


@contextlib.asynccontextmanager
async def scripted_scheduler(bus: Bus, blobs: BlobStore) -> AsyncIterator[ScriptedScheduler]:
    scheduler = ScriptedScheduler(bus, blobs)
    stop = asyncio.Event()
    puller = Puller(
        bus,
        Consumer(
            stream=subjects.RESULTS,
            durable="scheduler",
            filter=subjects.CHUNK_COMPLETED,
            ack_wait_s=30,
        ),
    )
    async with bus.answering(subjects.CHUNK_CLAIM, "schedulers", scheduler.on_claim):
        reading = asyncio.create_task(consume(puller, scheduler.on_completed, stop))
        try:
            yield scheduler
        finally:
            stop.set()
            await reading
