"""Delivery rows: claimed, then settled by compare-and-set.

A process that dies between delivering and settling leaves a claim that runs out; the next
attempt carries the same ids, and the receiver drops the repeat.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.db import Database
from batch_common.events import DeliveryFailed
from batch_common.outbox import add_delivery_failed
from batch_common.state import DELIVERY_MOVES, DeliveryState, IllegalMoveError
from batch_common.tables import deliveries
from batch_sinks.retry import LONGEST_PAUSE_S
from batch_sinks.sink import Item, Place
from batch_sinks.storable import storable

# Of one sink's rows.
_KEY: Final = tuple_(deliveries.c.batch_id, deliveries.c.endpoint)
# What a row keeps of an error; receivers' words can be long.
_ERROR_CHARS: Final = 500


class Deliveries:
    """The rows of one sink."""

    def __init__(self, database: Database, sink: str, claim_s: float) -> None:
        self._database = database
        self._sink = sink
        self._claim_s = claim_s

    async def claim(self, limit: int, busy: Sequence[Place] = ()) -> list[Item]:
        """Due rows that nobody else holds, for `claim_s`; the oldest first, none of `busy` places.

        The attempt is counted here, so that one which dies half-way counts too.
        """
        now = clock.now()
        due = (
            select(deliveries.c.batch_id, deliveries.c.endpoint)
            .where(
                deliveries.c.sink == self._sink,
                deliveries.c.state == DeliveryState.PENDING,
                *self._is_due(now),
                *_elsewhere(busy),
            )
            .order_by(deliveries.c.next_at)
            .limit(limit)
        )
        async with self._database.read() as conn:
            if (await conn.execute(due.limit(1))).first() is None:
                return []
        async with self._database.write("delivery claim") as conn:
            claimed = await conn.execute(
                update(deliveries)
                .where(
                    deliveries.c.sink == self._sink,
                    _KEY.in_(due.with_for_update(skip_locked=True)),
                )
                .values(claimed_until=now + self._claim_s, attempts=deliveries.c.attempts + 1)
                .returning(*deliveries.c)
            )
            return _items(claimed.all())

    def _is_due(self, now: float) -> tuple[ColumnElement[bool], ...]:
        """What lies too far ahead was written before the clock was set back."""
        at, until = deliveries.c.next_at, deliveries.c.claimed_until
        return (
            or_(at <= now, at > now + 2 * LONGEST_PAUSE_S),
            or_(until.is_(None), until < now, until > now + 2 * self._claim_s),
        )

    async def keep(self, item: Item) -> bool:
        """Prolongs the claim of an attempt that runs; False when another has taken the row."""
        statement = (
            update(deliveries)
            .where(
                *_row(item),
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.attempts == item.attempt,
            )
            .values(claimed_until=clock.now() + self._claim_s)
        )
        async with self._database.write("delivery keep") as conn:
            return (await conn.execute(statement)).rowcount == 1

    async def delivered(self, item: Item, link: str | None = None) -> bool:
        """True also when the claim ran out meanwhile: the receiver has it all the same."""
        at = clock.timestamp()
        async with self._database.write("delivery delivered") as conn:
            return await _move(
                conn, item, DeliveryState.DELIVERED, delivered_at=at, last_error=None, link=link
            )

    async def skipped(self, item: Item) -> bool:
        async with self._database.write("delivery skipped") as conn:
            return await _move(conn, item, DeliveryState.SKIPPED)

    async def again(self, item: Item, error: str, delay_s: float) -> bool:
        """False when the row is another attempt's by now: its outcome is what counts."""
        statement = (
            update(deliveries)
            .where(
                *_row(item),
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.attempts == item.attempt,
            )
            .values(next_at=clock.now() + delay_s, claimed_until=None, last_error=_kept(error))
        )
        async with self._database.write("delivery again") as conn:
            return (await conn.execute(statement)).rowcount == 1

    async def failed(self, item: Item, error: str) -> bool:
        """Gives the delivery up, with a message on `dead.<sink>`; False as for `again`."""
        text = _kept(error)
        async with self._database.write("delivery failed") as conn:
            moved = await _move(conn, item, DeliveryState.FAILED, own_attempt=True, last_error=text)
            if moved:
                await add_delivery_failed(conn, _failure(item, text), "sinks")
            return moved


async def _move(
    conn: AsyncConnection,
    item: Item,
    target: DeliveryState,
    *,
    own_attempt: bool = False,
    **values: object,
) -> bool:
    """From pending; with `own_attempt` only while no later attempt has claimed the row."""
    if target not in DELIVERY_MOVES[DeliveryState.PENDING]:
        raise IllegalMoveError(f"no move from {DeliveryState.PENDING} to {target}")
    statement = update(deliveries).where(*_row(item), deliveries.c.state == DeliveryState.PENDING)
    if own_attempt:
        statement = statement.where(deliveries.c.attempts == item.attempt)
    done = await conn.execute(statement.values(state=target, claimed_until=None, **values))
    return done.rowcount == 1


def _kept(error: str) -> str:
    text: str = storable(error[:_ERROR_CHARS])
    return text


def _elsewhere(busy: Sequence[Place]) -> list[ColumnElement[bool]]:
    return [
        or_(deliveries.c.tenant != tenant, deliveries.c.endpoint != endpoint)
        for tenant, endpoint in busy
    ]


def _row(item: Item) -> tuple[ColumnElement[bool], ...]:
    return (
        deliveries.c.batch_id == item.batch_id,
        deliveries.c.sink == item.sink,
        deliveries.c.endpoint == item.endpoint,
    )


def _items(rows: Sequence[Row[Any]]) -> list[Item]:
    return [
        Item(
            sink=row.sink,
            endpoint=row.endpoint,
            batch_id=row.batch_id,
            tenant=row.tenant,
            event_id=row.event_id,
            event_type=row.event_type,
            ended_at=row.created_at,
            attempt=row.attempts,
            redriven_at=row.redriven_at,
            attempts_before=row.attempts_before,
        )
        for row in sorted(rows, key=lambda row: (row.next_at, row.batch_id))
    ]


def _failure(item: Item, error: str) -> DeliveryFailed:
    return DeliveryFailed(
        batch_id=item.batch_id,
        tenant=item.tenant,
        sink=item.sink,
        endpoint=item.endpoint or None,
        event_id=item.event_id,
        event_type=item.event_type,
        attempts=item.attempt,
        error=error,
        at=clock.timestamp(),
    )
