"""What an attempt knows of its suspects, kept beside its segments.

It is written after each death of the engine, before anything is tried again, so that the next
attempt, of whatever runner, goes on where this one was. Of several the one that knows of most
deaths counts: each attempt takes over what was known before it, and clocks may say otherwise.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from batch_common import keys
from batch_common.blobs import BlobStore
from batch_common.formats.result import LineError
from batch_common.logs import get_log
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.request import Result
from batch_gpu_runner.suspects import Convicted, Group

log = get_log(__name__)


class SuspectLine(msgspec.Struct, frozen=True, array_like=True):
    """line: position in the planned input; the others as in Request."""

    line: int
    deaths: int
    alone: int


class SuspectGroup(msgspec.Struct, frozen=True):
    """As suspects.Group; the lines that have a result by now were acquitted."""

    lines: list[SuspectLine]
    has_twin: bool = False


class Conviction(msgspec.Struct, frozen=True):
    """A line whose error was perhaps not saved any more."""

    line: int
    error: LineError


class SuspectRecord(msgspec.Struct, frozen=True):
    """deaths: of engines at work on the chunk, over all attempts."""

    chunk: str
    attempt: str
    deaths: int
    groups: list[SuspectGroup] = []
    convictions: list[Conviction] = []
    version: int = 1


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(SuspectRecord)


def make_record(
    chunk: Chunk, groups: Sequence[Group], convicted: Sequence[Convicted]
) -> SuspectRecord:
    """`groups` are the chunk's own share; of `convicted` the chunk's are taken."""
    return SuspectRecord(
        chunk=chunk.ready.chunk,
        attempt=chunk.attempt,
        deaths=chunk.deaths,
        groups=[
            SuspectGroup(
                [SuspectLine(r.line, r.deaths, r.alone) for r in each.requests], each.has_twin
            )
            for each in groups
        ],
        convictions=[
            Conviction(each.request.line, each.error)
            for each in convicted
            if each.request.chunk is chunk
        ],
    )


async def save_record(blobs: BlobStore, chunk: Chunk, record: SuspectRecord) -> None:
    """Replaces the attempt's earlier one. Raises BlobUnavailableError, BlobStoreFullError."""
    await blobs.put(keys.suspects(chunk.ready.prefix, chunk.attempt), _ENCODER.encode(record))


async def read_record(blobs: BlobStore, listed: Sequence[str]) -> SuspectRecord | None:
    """The one that counts among a chunk's keys; None when there is none that can be read.

    Raises BlobNotFoundError, BlobUnavailableError.
    """
    records: list[SuspectRecord] = []
    for key in filter(keys.is_suspects, listed):
        try:
            records.append(_DECODER.decode(await blobs.get(key)))
        except msgspec.DecodeError as error:
            log.warning("suspects_damaged", key=key, error=str(error))
    return max(records, key=lambda record: record.deaths, default=None)


def take_up(chunk: Chunk, record: SuspectRecord) -> tuple[list[Group], list[Convicted]]:
    """The record's groups as requests of `chunk`; those convicted get their error at once."""
    chunk.deaths = record.deaths
    convicted = [
        Convicted(request, each.error)
        for each in record.convictions
        for request in chunk.take_lines([each.line])
    ]
    for each in convicted:
        chunk.add(each.request, Result(succeeded=False, error=each.error))
    groups = [
        Group(deque(_suspects(chunk, group)), has_twin=group.has_twin) for group in record.groups
    ]
    return groups, convicted


def _suspects(chunk: Chunk, group: SuspectGroup) -> list[Request]:
    known = {each.line: each for each in group.lines}
    return [
        msgspec.structs.replace(
            request, deaths=known[request.line].deaths, alone=known[request.line].alone
        )
        for request in chunk.take_lines(known)
    ]
