"""Whether anybody works at a chunk."""

from typing import Any

from sqlalchemy import ColumnElement, or_

from batch_common.tables import chunks


def unclaimed(now: float, ttl_s: float) -> ColumnElement[bool]:
    """No claim, one that ran out or was let go, or one from before the clock was set back."""
    until = chunks.c.claimed_until
    return or_(
        chunks.c.attempt.is_(None), until.is_(None), until < now, until > _latest(now, ttl_s)
    )


def is_unclaimed(chunk: Any, now: float, ttl_s: float) -> bool:
    """The same of a row that was read."""
    until = chunk.claimed_until
    return chunk.attempt is None or until is None or until < now or until > _latest(now, ttl_s)


def _latest(now: float, ttl_s: float) -> float:
    """Machines' clocks differ a little; by more than this a claim cannot reach ahead."""
    return now + 2 * ttl_s
