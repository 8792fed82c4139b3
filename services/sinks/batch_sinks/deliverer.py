"""One sink's loop: claims due rows, delivers them side by side, settles each."""

import asyncio
import random
from collections import Counter
from typing import Final

from batch_common import clock
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.errors import DatabaseUnavailableError
from batch_common.logs import bind_ids, get_log
from batch_common.tasks import Tasks, cancel_all, repeat
from batch_sinks.deliveries import Deliveries
from batch_sinks.ended import EndedBatches
from batch_sinks.handler import Delivered
from batch_sinks.metrics import ATTEMPTS, LAG, SECONDS
from batch_sinks.retry import Retry, after_failure
from batch_sinks.sink import DeliveryError, Item, Place, Sink

log = get_log(__name__)

_POLL_S: Final = 1.0
# A dead process's claims run out after this; while an attempt runs its claim is renewed.
_CLAIM_S: Final = 30.0
# A claim outlives a short attempt by this, for the row update that follows it.
_SETTLE_S: Final = 5.0
# When the service stops, attempts that run have this long to end.
_DRAIN_S: Final = 20.0


class Deliverer:
    """Rows are the truth: `wake` only says that a look is worth while."""

    def __init__(
        self, database: Database, sink: Sink, batches: EndedBatches, retry_for_s: float
    ) -> None:
        self._sink = sink
        self._batches = batches
        self._claim_s = min(sink.limit_s + _SETTLE_S, _CLAIM_S)
        self._rows = Deliveries(database, sink.name, self._claim_s)
        self._retry_for_s = retry_for_s
        self._running: dict[asyncio.Task[None], Place] = {}
        self.wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then attempts that run are waited for, up to a limit."""
        async with Tasks(stop) as tasks:
            await repeat(
                f"deliver {self._sink.name}",
                lambda: self._start_due(tasks),
                wake=self.wake,
                stop=stop,
                every_s=_POLL_S,
                catch=DATABASE_ERRORS,
            )
            if self._running:
                await asyncio.wait(set(self._running), timeout=_DRAIN_S)

    async def _start_due(self, tasks: Tasks) -> bool:
        """True: there may be more, at places that have not had their share."""
        free = self._sink.side_by_side - len(self._running)
        if not free:
            return False
        at_once = min(free, self._sink.for_each)
        items = await self._rows.claim(at_once, self._busy())
        for item in items:
            task = tasks.spawn(f"deliver {item.batch_id}", self._attempt(item))
            self._running[task] = item.place
            task.add_done_callback(self._finished)
        return len(items) == at_once

    def _busy(self) -> list[Place]:
        """Where as many attempts run as one place may have."""
        running = Counter(self._running.values())
        return [place for place, number in running.items() if number >= self._sink.for_each]

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.wake.set()

    async def _attempt(self, item: Item) -> None:
        with bind_ids(
            sink=item.sink, endpoint=item.endpoint, batch_id=item.batch_id, attempt=item.attempt
        ):
            keeping = asyncio.create_task(self._keep_claim(item))
            try:
                outcome = await self._settled(item)
            except Exception as error:  # noqa: BLE001 - no row may end the service for all
                # The claim runs out, and the same delivery is made again under the same ids.
                log.warning("settle_failed", error=str(error), kind=type(error).__name__)
                return
            finally:
                await cancel_all({keeping})
            ATTEMPTS.labels(item.sink, outcome).inc()

    async def _keep_claim(self, item: Item) -> None:
        """Else an attempt that takes long would be made a second time beside it."""
        while True:
            await asyncio.sleep(self._claim_s / 3)
            try:
                if not await self._rows.keep(item):
                    log.warning("claim_lost")
                    return
            except DATABASE_ERRORS as error:
                log.warning("claim_not_kept", error=str(error), kind=type(error).__name__)

    async def _settled(self, item: Item) -> str:
        """Whatever is raised is this row's failure; raises what keeps that from being noted."""
        try:
            return await self._deliver(item)
        except DatabaseUnavailableError:
            raise
        except Exception as error:
            log.exception("attempt_raised")
            kind = type(error).__name__
            return await self._settle_failure(
                item, f"an error that nobody foresaw ({kind}): see the log of the sinks service"
            )

    async def _deliver(self, item: Item) -> str:
        try:
            async with asyncio.timeout(self._sink.limit_s):
                handed = await self._hand_over(item)
        except TimeoutError:
            return await self._settle_failure(item, f"not done within {self._sink.limit_s:g} s")
        except DeliveryError as error:
            return await self._settle_failure(item, str(error))
        if handed is None:
            await self._rows.skipped(item)
            return "skipped"
        await self._rows.delivered(item, handed.link)
        LAG.labels(item.sink).observe(max(0.0, clock.now() - item.ended_at))
        log.info("delivered", event_type=item.event_type)
        return "delivered"

    async def _hand_over(self, item: Item) -> Delivered | None:
        """None: the batch is not for this sink."""
        batch = await self._batches.find(item.batch_id)
        if not batch.wants(item) or not await self._sink.wants(item, batch):
            return None
        with SECONDS.labels(item.sink).time():
            return Delivered(link=await self._sink.deliver(item, batch))

    async def _settle_failure(self, item: Item, error: str) -> str:
        next_step = after_failure(
            attempt=item.tries,
            age_s=clock.now() - item.tried_since,
            retry_for_s=self._retry_for_s,
            jitter=random.random(),
        )
        if isinstance(next_step, Retry):
            log.warning("delivery_failed", error=error, again_in_s=round(next_step.delay_s, 1))
            await self._rows.again(item, error, next_step.delay_s)
            return "retry"
        log.error("delivery_given_up", error=error)
        await self._rows.failed(item, error)
        return "failed"
