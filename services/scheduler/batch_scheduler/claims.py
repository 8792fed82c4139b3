"""Answers to `chunk.claim`: heartbeat, progress and cancellation in one request.

The claim saves work; safety is in the commit.
"""

import msgspec
from sqlalchemy import ColumnElement, and_, case, exists, or_, select, update

from batch_common import clock
from batch_common.db import Database
from batch_common.events import ChunkClaim, ClaimAnswer, decode, encode
from batch_common.logs import get_log
from batch_common.state import BatchStatus, ChunkState
from batch_common.tables import batches, chunks
from batch_scheduler.liveness import unclaimed
from batch_scheduler.metrics import CHUNK_WAIT, CLAIMS
from batch_scheduler.wakes import Wakes

log = get_log(__name__)


class Claims:
    """Any scheduler answers, whether it holds the lease or not."""

    def __init__(self, database: Database, ttl_s: float, wakes: Wakes) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._wakes = wakes

    async def answer(self, request: bytes) -> bytes | None:
        """None, no answer at all, for what is not a claim."""
        try:
            claim = decode(request, ChunkClaim)
        except msgspec.DecodeError as error:
            log.warning("not_a_claim", error=str(error))
            return None
        answer = await (self._let_go(claim) if claim.released else self._take(claim))
        CLAIMS.labels(answer.answer).inc()
        return encode(answer)

    async def _take(self, claim: ChunkClaim) -> ClaimAnswer:
        now = clock.now()
        free = or_(chunks.c.attempt == claim.attempt, unclaimed(now, self._ttl_s))
        statement = (
            update(chunks)
            .where(chunks.c.id == claim.chunk, _workable(now), free)
            .values(
                attempt=claim.attempt,
                runner=claim.runner,
                claimed_until=now + self._ttl_s,
                **_progress(claim),
            )
            .returning(chunks.c.model, chunks.c.released_at)
        )
        async with self._database.write("claim take") as conn:
            taken = (await conn.execute(statement)).first()
        if taken is not None:
            if claim.first:
                CHUNK_WAIT.labels(taken.model).observe(max(0.0, now - taken.released_at))
            return ClaimAnswer("go")
        async with self._database.read() as conn:
            held = select(chunks.c.id).where(chunks.c.id == claim.chunk, _workable(now))
            alive = (await conn.execute(held)).first() is not None
        return ClaimAnswer("busy" if alive else "stop")

    async def _let_go(self, claim: ChunkClaim) -> ClaimAnswer:
        """The attempt has flushed; whoever comes next need not wait for its claim to run out.

        A claim that has run out and names no attempt is one that was let go: `reconcile` offers
        such a chunk again when its message does not come back.
        """
        mine = and_(
            chunks.c.id == claim.chunk,
            chunks.c.attempt == claim.attempt,
            chunks.c.state == ChunkState.RELEASED,
        )
        async with self._database.write("claim let go") as conn:
            await conn.execute(
                update(chunks)
                .where(mine)
                .values(attempt=None, claimed_until=clock.now(), **_progress(claim))
            )
        self._wakes.close.set()
        return ClaimAnswer("stop")


def _workable(now: float) -> ColumnElement[bool]:
    """Released, and its batch neither cancelled, past its window nor without its plan."""
    running = exists().where(
        batches.c.id == chunks.c.batch_id,
        batches.c.status == BatchStatus.IN_PROGRESS,
        batches.c.expires_at > now,
        batches.c.plan_lost_at.is_(None),
    )
    return and_(chunks.c.state == ChunkState.RELEASED, running)


def _progress(claim: ChunkClaim) -> dict[str, object]:
    """A late or smaller report moves nothing back."""
    return {
        name: case((chunks.c[name] < done, done), else_=chunks.c[name])
        for name, done in (("completed", claim.completed), ("failed", claim.failed))
    }
