"""The relay: takes unsent outbox rows to their streams.

Several relays may run, one in each process that writes events. Rows are claimed in one
transaction and marked sent in another, so no I/O happens inside either; a relay that dies
between them leaves a claim that runs out, and the stream drops the repeat by message id.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, or_, select, update

from batch_common import clock
from batch_common.bus import Bus, Published
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.errors import BusUnavailableError
from batch_common.logs import get_log
from batch_common.process_metrics import EVENTS_SENT
from batch_common.subjects import BATCHES
from batch_common.tables import outbox
from batch_common.tasks import repeat

log = get_log(__name__)

_PAGE: Final = 100
_CLAIM_S: Final = 15.0
_KEEP_S: Final = 7 * 86400
_POLL_S: Final = 1.0
_AUDIT_S: Final = 10.0


class Relay:
    """Run `run()` as a background task."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(
            "relay",
            self.send_page,
            wake=self._database.committed,
            stop=stop,
            every_s=_POLL_S,
            catch=(BusUnavailableError, *DATABASE_ERRORS),
        )

    async def send_page(self) -> bool:
        """Sends up to a page of rows; True when there may be more."""
        rows = await self._claim()
        if not rows:
            return False
        sent = await asyncio.gather(*map(self._send, rows), return_exceptions=True)
        await self._mark(
            [
                {"row": row.id, "created": ack.stream_created, "number": ack.seq}
                for row, ack in zip(rows, sent, strict=True)
                if isinstance(ack, Published)
            ]
        )
        for row, ack in zip(rows, sent, strict=True):
            if isinstance(ack, Published):
                EVENTS_SENT.labels(row.stream).inc()
        failures = [failure for failure in sent if isinstance(failure, BaseException)]
        if failures:
            await self._release(
                [
                    row.id
                    for row, ack in zip(rows, sent, strict=True)
                    if not isinstance(ack, Published)
                ]
            )
            raise failures[0]
        return len(rows) == _PAGE

    async def audit(self, stop: asyncio.Event) -> None:
        """Sends batch events again whose stream was lost, and forgets old rows.

        Chunks are not sent again from here: the scheduler re-publishes the ones that still
        matter, under a new generation.
        """
        await repeat(
            "outbox_audit",
            self.audit_once,
            wake=asyncio.Event(),
            stop=stop,
            every_s=_AUDIT_S,
            catch=(BusUnavailableError, *DATABASE_ERRORS),
        )

    async def audit_once(self) -> bool:
        head = await self._bus.stream_head(BATCHES)
        lost = (
            outbox.c.stream == BATCHES,
            outbox.c.sent_at.is_not(None),
            outbox.c.sent_at > clock.now() - _KEEP_S,
            or_(outbox.c.stream_created != head.created, outbox.c.seq > head.last_seq),
        )
        old = outbox.c.sent_at < clock.now() - _KEEP_S
        async with self._database.read() as conn:
            any_lost = (await conn.execute(select(outbox.c.id).where(*lost).limit(1))).first()
            any_old = (await conn.execute(select(outbox.c.id).where(old).limit(1))).first()
        if not (any_lost or any_old):
            return False
        async with self._database.write("outbox audit") as conn:
            await conn.execute(delete(outbox).where(old))
            again = await conn.execute(
                update(outbox).where(*lost).values(sent_at=None, claimed_until=0.0)
            )
        if again.rowcount:
            log.warning("events_lost_by_stream", stream=BATCHES, sending_again=again.rowcount)
            self._database.committed.set()
        return False

    async def _claim(self) -> Sequence[Row[Any]]:
        now = clock.now()
        waiting = (
            select(outbox.c.id)
            .where(
                outbox.c.sent_at.is_(None),
                # Of the future: claimed before the clock was set back.
                or_(outbox.c.claimed_until < now, outbox.c.claimed_until > now + 2 * _CLAIM_S),
            )
            .order_by(outbox.c.id)
            .limit(_PAGE)
        )
        async with self._database.read() as conn:
            if (await conn.execute(waiting.limit(1))).first() is None:
                return []
        async with self._database.write("outbox claim") as conn:
            claimed = await conn.execute(
                update(outbox)
                .where(outbox.c.id.in_(waiting.with_for_update(skip_locked=True)))
                .values(claimed_until=now + _CLAIM_S)
                .returning(
                    outbox.c.id,
                    outbox.c.stream,
                    outbox.c.subject,
                    outbox.c.message_id,
                    outbox.c.headers,
                    outbox.c.body,
                )
            )
            return claimed.all()

    async def _send(self, row: Row[Any]) -> Published:
        return await self._bus.publish(row.subject, row.body, row.message_id, row.headers)

    async def _release(self, ids: list[str]) -> None:
        """Lets go of what could not be sent, so that it need not wait for the claim to run out."""
        async with self._database.write("outbox release") as conn:
            await conn.execute(
                update(outbox)
                .where(outbox.c.id.in_(ids), outbox.c.sent_at.is_(None))
                .values(claimed_until=0.0)
            )

    async def _mark(self, sent: list[dict[str, Any]]) -> None:
        if not sent:
            return
        statement = (
            update(outbox)
            .where(outbox.c.id == bindparam("row"))
            .values(
                sent_at=clock.now(), stream_created=bindparam("created"), seq=bindparam("number")
            )
        )
        async with self._database.write("outbox sent") as conn:
            await conn.execute(statement, sent)
