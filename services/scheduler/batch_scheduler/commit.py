"""Making a chunk's results final: one transaction, and only for the first who comes."""

from typing import Any

import msgspec
from sqlalchemy import select, update

from batch_common import clock
from batch_common.db import Database
from batch_common.events import ChunkCompleted, decode
from batch_common.formats.manifest import Manifest
from batch_common.logs import get_log
from batch_common.pull import Again, Delivery, Done, Outcome
from batch_common.state import ChunkState, move_chunk
from batch_common.tables import batches, chunks
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.manifests import Unfit, read_manifest
from batch_scheduler.metrics import CHUNK_SECONDS, CHUNKS, REQUESTS, TOKENS

log = get_log(__name__)


class _AlreadySettledError(Exception):
    """Rolls the counts back that were added in the same transaction."""


async def commit_delivery(context: Context, delivery: Delivery) -> Outcome:
    """Handles one `chunk.completed`; after a passing fault it comes again.

    What cannot be committed is dropped all the same: the chunk stays released, nobody claims
    it, and repair has it run again.
    """
    try:
        event = decode(delivery.data, ChunkCompleted)
    except msgspec.DecodeError as error:
        log.warning("not_a_completion", error=str(error))
        return Done()
    try:
        await _commit(context, event)
    except PASSING as error:
        log.warning("commit_failed", chunk=event.chunk, error=str(error))
        return Again(delay_s=min(2.0**delivery.attempt, 30.0))
    return Done()


async def _commit(context: Context, event: ChunkCompleted) -> None:
    chunk = await find_chunk(context.database, event.chunk)
    if chunk is None or chunk.state != ChunkState.RELEASED:
        return
    try:
        manifest = await read_manifest(context.blobs, event.manifest_key, chunk)
    except Unfit as reason:
        log.warning("manifest_unfit", chunk=chunk.id, key=event.manifest_key, reason=str(reason))
        return
    await settle(context, chunk, manifest, event.manifest_key)


async def find_chunk(database: Database, chunk_id: str) -> AnyRow | None:
    async with database.read() as conn:
        return (await conn.execute(select(chunks).where(chunks.c.id == chunk_id))).first()


async def settle(context: Context, chunk: AnyRow, manifest: Manifest, manifest_key: str) -> bool:
    """Commits, or closes when lines are unfinished. False: somebody settled it before.

    Counts, tokens and the commit's number belong to the same transaction as the move.
    """
    target = ChunkState.CLOSED if manifest.unfinished else ChunkState.COMMITTED
    try:
        async with context.database.write("chunk settle") as conn:
            number = (await conn.execute(_counted(chunk.batch_id, manifest))).scalar_one()
            values = settled_values(manifest, manifest_key, number)
            if not await move_chunk(conn, chunk.id, ChunkState.RELEASED, target, **values):
                raise _AlreadySettledError
    except _AlreadySettledError:
        return False
    report(context, chunk.model, manifest)
    age_s = clock.now() - chunk.released_at
    CHUNK_SECONDS.labels(chunk.model).observe(max(0.0, age_s))
    context.rates.committed(chunk.model, manifest.lines, age_s)
    return True


def _counted(batch_id: str, manifest: Manifest) -> Any:
    """One more commit of the batch; returns its number."""
    used = manifest.usage
    added = {
        "commits": 1,
        "completed": manifest.completed,
        "failed": manifest.failed,
        "input_tokens": used.input_tokens,
        "cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
        "reasoning_tokens": used.reasoning_tokens,
    }
    return (
        update(batches)
        .where(batches.c.id == batch_id)
        .values({name: batches.c[name] + more for name, more in added.items()})
        .returning(batches.c.commits)
    )


def settled_values(manifest: Manifest, manifest_key: str, number: int) -> dict[str, object]:
    """What the row of a settled chunk holds; `number` places it in the batch's results."""
    output, errors, used = manifest.output, manifest.errors, manifest.usage
    return {
        "attempt": manifest.attempt,
        "claimed_until": None,
        "manifest_key": manifest_key,
        "output_key": output.key if output else None,
        "output_bytes": output.bytes if output else 0,
        "error_key": errors.key if errors else None,
        "error_bytes": errors.bytes if errors else 0,
        "completed": manifest.completed,
        "failed": manifest.failed,
        "input_tokens": used.input_tokens,
        "cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "commit_seq": number,
    }


def report(context: Context, model: str, manifest: Manifest) -> None:
    """Tells metrics and the other loops."""
    CHUNKS.labels(model, "closed" if manifest.unfinished else "committed").inc()
    REQUESTS.labels(model, "completed").inc(manifest.completed)
    REQUESTS.labels(model, "failed").inc(manifest.failed)
    REQUESTS.labels(model, "unfinished").inc(manifest.unfinished)
    for kind, tokens in manifest.usage.by_kind():
        TOKENS.labels(model, kind).inc(tokens)
    log.debug("chunk_settled", chunk=manifest.chunk, model=model, lines=manifest.lines)
    context.wakes.settled()
