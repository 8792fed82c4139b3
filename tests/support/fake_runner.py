"""A runner whose every step a test decides; it speaks through the real bus and blob store."""

import asyncio

import msgspec

from batch_common import presence, subjects
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.errors import BusUnavailableError
from batch_common.events import (
    ChunkClaim,
    ChunkCompleted,
    ChunkReady,
    ClaimAnswer,
    ModelState,
    RunnerState,
    decode,
    encode,
)
from batch_common.formats.manifest import Manifest, ObjectRef, encode_manifest
from batch_common.formats.plan import read_index, record_range
from batch_common.formats.request import REQUEST_DECODER
from batch_common.formats.result import Response, ResultLine, encode_result, result_id
from batch_common.formats.segment import Record, Segment, encode_segment
from batch_common.formats.usage import Usage, total
from batch_common.ids import new_id
from batch_common.keys import chunk_errors, chunk_manifest, chunk_output, segment
from batch_common.pull import Consumer, Delivery, Done, Puller

CHAT = "/v1/chat/completions"
_BODY = msgspec.Raw(b'{"ok":true}')
_USAGE = Usage(5, 1, 2, 0)


class Work(msgspec.Struct, frozen=True):
    """A chunk in hand."""

    delivery: Delivery
    ready: ChunkReady
    attempt: str


class FakeRunner:
    """Serves one model. A request whose custom_id starts with `bad` gets status 400."""

    def __init__(self, bus: Bus, blobs: BlobStore, model: str = "m", name: str = "r1") -> None:
        self.bus, self.blobs, self.model, self.name = bus, blobs, model, name
        consumer = Consumer(
            stream=subjects.CHUNKS,
            durable=subjects.runner_durable(model),
            filter=subjects.chunks_of(model),
            ack_wait_s=5.0,
        )
        self.puller = Puller(bus, consumer)

    async def announce(self, *endpoints: str, requests_per_s: float | None = None) -> None:
        model = ModelState(
            name=self.model, endpoints=endpoints or (CHAT,), requests_per_s=requests_per_s
        )
        await presence.announce(
            self.bus,
            RunnerState(runner=self.name, engine="sim", models=(model,), status="ready"),
        )

    async def take(self) -> Work | None:
        """The next chunk, or None when none came for a few seconds."""
        try:
            delivery = await self.puller.fetch()
        except BusUnavailableError:
            return None
        if delivery is None:
            return None
        return Work(delivery, decode(delivery.data, ChunkReady), new_id("att_"))

    async def taken(self) -> Work:
        for _ in range(5):
            if work := await self.take():
                return work
        raise AssertionError("no chunk was offered")

    async def claim(
        self, work: Work, *, completed: int = 0, failed: int = 0, released: bool = False
    ) -> str:
        claim = ChunkClaim(
            chunk=work.ready.chunk,
            generation=work.ready.generation,
            attempt=work.attempt,
            runner=self.name,
            completed=completed,
            failed=failed,
            released=released,
        )
        answer = await self.bus.ask(subjects.CHUNK_CLAIM, encode(claim), 5.0)
        return decode(answer, ClaimAnswer).answer

    async def results(self, ready: ChunkReady) -> list[Record]:
        """What the engine would have answered to each line of the chunk."""
        text = await self.blobs.get_range(ready.input_key, ready.first_byte, ready.end_byte)
        start, end = record_range(ready.first_line, ready.end_line)
        index = read_index(await self.blobs.get_range(ready.index_key, start, end))
        records, at = [], 0
        for line, (length, _tokens, number) in enumerate(index.tolist(), ready.first_line):
            request = REQUEST_DECODER.decode(text[at : at + length])
            at += length
            good = not request.custom_id.startswith("bad")
            result = ResultLine(
                result_id(ready.batch_id, number),
                request.custom_id,
                Response(200 if good else 400, "req_1", _BODY),
                None,
            )
            records.append(Record(line, good, encode_result(result), _USAGE))
        assert at == len(text), "the byte range and the index disagree"
        return records

    async def save(self, work: Work, records: list[Record], number: int = 1) -> str:
        """Writes a segment."""
        key = segment(work.ready.prefix, work.attempt, number)
        await self.blobs.put(key, encode_segment(Segment(work.ready.chunk, work.attempt, records)))
        return key

    async def finish(self, work: Work, records: list[Record]) -> str:
        """Writes output, errors and manifest; returns the manifest's key."""
        ready, attempt = work.ready, work.attempt
        good = [record for record in records if record.succeeded]
        bad = [record for record in records if not record.succeeded]
        manifest = Manifest(
            chunk=ready.chunk,
            attempt=attempt,
            segments=(),
            output=await self._object(chunk_output(ready.prefix, attempt), good),
            errors=await self._object(chunk_errors(ready.prefix, attempt), bad),
            completed=len(good),
            failed=len(bad),
            usage=total(record.usage or Usage() for record in records),
        )
        key = chunk_manifest(ready.prefix, attempt)
        await self.blobs.put(key, encode_manifest(manifest))
        return key

    async def _object(self, key: str, records: list[Record]) -> ObjectRef | None:
        if not records:
            return None
        data = b"".join(record.data + b"\n" for record in records)
        return ObjectRef(key, await self.blobs.put(key, data), len(records))

    async def publish(self, work: Work, manifest_key: str, message_id: str = "") -> None:
        event = ChunkCompleted(
            chunk=work.ready.chunk,
            generation=work.ready.generation,
            attempt=work.attempt,
            manifest_key=manifest_key,
        )
        await self.bus.publish(
            subjects.CHUNK_COMPLETED,
            encode(event),
            message_id or f"{work.ready.chunk}:{work.attempt}",
            {},
        )

    async def do(self, work: Work) -> None:
        """A chunk from claim to ack, with everything going well."""
        assert await self.claim(work) == "go"
        records = await self.results(work.ready)
        await self.save(work, records)
        await self.publish(work, await self.finish(work, records))
        await work.delivery.settle(Done())

    async def serve(self) -> None:
        """Works until it is cancelled, as a good runner does; without an answer it tries again."""
        while True:
            work = await self.take()
            if work is None:
                continue
            try:
                if await self.claim(work) == "go":
                    await self.do(work)
                else:
                    await work.delivery.settle(Done())
            except BusUnavailableError:
                await asyncio.sleep(0.1)
