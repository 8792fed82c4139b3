"""What must hold after every step, and of every batch that has ended."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

from batch_common.formats.content import decode_content
from batch_common.formats.result import result_id
from batch_common.state import BATCH_MOVES, CHUNK_MOVES, TERMINAL, BatchStatus, ChunkState
from support.world.world import World


class Checker:
    """Remembers what it has seen: what is final stays as it is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._batches: dict[str, Any] = {}
        self._chunks: dict[str, Any] = {}
        self._read: set[str] = set()

    async def check(self) -> None:
        rows = self._world.rows("batches", "id")
        pieces = self._world.rows("chunks", "batch_id, first_line")
        for batch in rows:
            self._check_move(batch)
            mine = [chunk for chunk in pieces if chunk.batch_id == batch.id]
            _check_counts(batch, mine)
        for chunk in pieces:
            self._check_chunk(chunk)
        self._check_cover(pieces)
        for batch in rows:
            if batch.status in TERMINAL and batch.id not in self._read:
                self._read.add(batch.id)
                await self._check_end(batch)

    def _check_move(self, batch: Any) -> None:
        before = self._batches.get(batch.id)
        self._batches[batch.id] = batch
        if before is None or before.status == batch.status:
            assert before is None or batch.status not in TERMINAL or before == batch, "it was final"
            return
        reached = _reachable(BatchStatus(before.status))
        assert batch.status in reached, f"{before.status} to {batch.status}"

    def _check_chunk(self, chunk: Any) -> None:
        before = self._chunks.get(chunk.id)
        self._chunks[chunk.id] = chunk
        if before is None:
            return
        assert _range(before) == _range(chunk), "a released chunk is never cut anew"
        assert before.generation <= chunk.generation
        if before.state != chunk.state:
            assert chunk.state in CHUNK_MOVES[ChunkState(before.state)]
        elif chunk.state != ChunkState.RELEASED:
            assert _final(before) == _final(chunk), "a settled chunk never changes"

    def _check_cover(self, pieces: list[Any]) -> None:
        """From its first line to next_line a span is cut into chunks, without gap or overlap."""
        for span in self._world.rows("spans", "batch_id, ordinal"):
            inside = [
                chunk
                for chunk in pieces
                if chunk.batch_id == span.batch_id
                and span.first_line <= chunk.first_line < span.end_line
            ]
            ends = [(span.first_line, span.first_byte)]
            for chunk in inside:
                assert (chunk.first_line, chunk.first_byte) == ends[-1]
                assert chunk.model == span.model
                ends.append((chunk.end_line, chunk.end_byte))
            assert ends[-1] == (span.next_line, span.next_byte)

    async def _check_end(self, batch: Any) -> None:
        """Each custom_id once; counts equal lines; files, event and deliveries are there."""
        output = await self._lines(batch.output_file_id)
        errors = await self._lines(batch.error_file_id)
        planned = batch.total > 0
        ids = self._world.inputs[batch.id]
        seen = Counter(line["custom_id"] for line in [*output, *errors])
        assert seen == (Counter(ids) if planned else Counter()), "each custom_id once"
        for line in [*output, *errors]:
            assert line["id"] == result_id(batch.id, ids.index(line["custom_id"]) + 1)
        answered = [line for line in errors if line["response"] is not None]
        assert (len(output), len(answered)) == (batch.completed, batch.failed)
        assert {line["custom_id"].startswith("bad") for line in output} <= {False}
        assert {line["custom_id"].startswith("bad") for line in answered} <= {True}
        _check_unfinished(batch, [line for line in errors if line["response"] is None])
        self._check_told(batch)

    def _check_told(self, batch: Any) -> None:
        subject = f"batch.{batch.status}"
        events = [e for e in self._world.rows("outbox") if e.subject == subject]
        mine = [e for e in events if json.loads(e.body)["batch_id"] == batch.id]
        rows = [row for row in self._world.rows("deliveries") if row.batch_id == batch.id]
        assert len(mine) == 1, "one terminal event"
        assert json.loads(mine[0].body)["counts"]["completed"] == batch.completed
        assert sorted(row.sink for row in rows) == sorted(self._world.config.sinks.enabled)

    async def _lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        [file] = [file for file in self._world.rows("files") if file.id == file_id]
        content = decode_content(await self._world.blobs.get(file.blob_key))
        data = b"".join([await self._world.blobs.get(part.key) for part in content.parts])
        assert len(data) == file.bytes
        return [json.loads(line) for line in data.splitlines()]


def _check_counts(batch: Any, pieces: list[Any]) -> None:
    """The batch's own are the sums over its settled chunks, each numbered once."""
    settled = [chunk for chunk in pieces if chunk.state != ChunkState.RELEASED]
    for name in ("completed", "failed", "input_tokens", "cached_tokens", "output_tokens"):
        added = sum(getattr(chunk, name) for chunk in settled)
        assert getattr(batch, name) == added, f"{name} counted once"
    assert sorted(chunk.commit_seq for chunk in settled) == list(range(1, batch.commits + 1))
    for one, other in pairwise(pieces):
        assert one.end_line <= other.first_line


def _check_unfinished(batch: Any, lines: list[dict[str, Any]]) -> None:
    codes = {line["error"]["code"] for line in lines}
    match batch.status:
        case BatchStatus.COMPLETED:
            assert not lines
            assert batch.completed + batch.failed == batch.total
        case BatchStatus.EXPIRED:
            assert codes <= {"batch_expired"}
        case BatchStatus.CANCELLED:
            assert codes <= {"batch_cancelled"}


def _reachable(status: BatchStatus) -> set[BatchStatus]:
    """In one move or several: between two looks there may be more than one."""
    found: set[BatchStatus] = set()
    ahead = set(BATCH_MOVES.get(status, ()))
    while ahead:
        found |= ahead
        ahead = {t for s in ahead for t in BATCH_MOVES.get(s, ())} - found
    return found


def _range(chunk: Any) -> tuple[Any, ...]:
    return chunk.model, chunk.first_line, chunk.end_line, chunk.first_byte, chunk.end_byte


def _final(chunk: Any) -> dict[str, Any]:
    return {name: value for name, value in chunk.items() if name != "swept_at"}
