"""Watching over the plans of running batches: one that is lost is made again, or ends its batch.

A plan can be made again as long as the input file's bytes are there, and is taken only under its
old name: then it is the same plan, and every chunk so far fits it. Else nobody can say what the
lines without a result were: the batch fails, with the results it has.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select, update

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.plan import RECORD_BYTES
from batch_common.keys import plan_index, plan_input, plan_schema
from batch_common.logs import get_log
from batch_common.state import BatchStatus
from batch_common.tables import batches, files, spans
from batch_scheduler.context import PASSING, AnyRow, Context
from batch_scheduler.examine import Job
from batch_scheduler.examiner import ExaminationDiedError
from batch_scheduler.input_file import parts_of
from batch_scheduler.planning import InputShortError, make_plan, put_schema
from batch_scheduler.rules import Rules

log = get_log(__name__)

EVERY_S: Final = 60.0
_DEATHS: Final = 3
_RUNNING: Final = (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING)


class PlanWatch:
    """One look each minute, and whenever somebody misses a plan."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # Examinations in a row that died, by batch.
        self._deaths: Counter[str] = Counter()

    async def look(self) -> bool:
        """At those that are missed, and at whatever else is not there in full."""
        running = await _planned(self._context)
        missing = self._context.wakes.plans_missing
        missing &= {batch.id for batch in running}
        for batch in running:
            try:
                await _keep_schema(self._context, batch)
                if batch.id in missing or not await _is_whole(self._context.blobs, batch):
                    await self._restore(batch)
                missing.discard(batch.id)
            except PASSING as error:
                log.warning("plan_not_restored", batch=batch.id, error=str(error))
        return False

    async def _restore(self, batch: AnyRow) -> None:
        try:
            restored = await _made_again(self._context, batch)
        except ExaminationDiedError:
            self._deaths[batch.id] += 1
            if self._deaths[batch.id] < _DEATHS:
                raise
            restored = False
        del self._deaths[batch.id]
        if restored:
            log.warning("plan_restored", batch=batch.id)
            self._context.wakes.planned()
        else:
            await _give_up(self._context, batch)


async def _planned(context: Context) -> Sequence[AnyRow]:
    """Running batches, with the size of their planned input."""
    statement = (
        select(batches, func.max(spans.c.end_byte).label("bytes"))
        .join(spans, spans.c.batch_id == batches.c.id)
        .where(batches.c.status.in_(_RUNNING), batches.c.plan_lost_at.is_(None))
        .group_by(batches.c.id)
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).all()


async def _is_whole(blobs: BlobStore, batch: AnyRow) -> bool:
    try:
        index = await blobs.size(plan_index(batch.id, batch.plan))
        text = await blobs.size(plan_input(batch.id, batch.plan))
    except BlobNotFoundError:
        return False
    return (index, text) == (batch.total * RECORD_BYTES, batch.bytes)


async def _keep_schema(context: Context, batch: AnyRow) -> None:
    """The database has it, whatever has become of the input."""
    if batch.task_schema is None:
        return
    try:
        await context.blobs.size(plan_schema(batch.id, batch.plan))
    except BlobNotFoundError:
        await put_schema(context, batch, batch.plan)
        log.warning("schema_restored", batch=batch.id)


async def _give_up(context: Context, batch: AnyRow) -> None:
    statement = (
        update(batches)
        .where(
            batches.c.id == batch.id,
            batches.c.status.in_(_RUNNING),
            batches.c.plan_lost_at.is_(None),
        )
        .values(plan_lost_at=clock.timestamp())
    )
    async with context.database.write("plan lost") as conn:
        lost = (await conn.execute(statement)).rowcount
    if lost:
        log.error("plan_lost", batch=batch.id, input_file=batch.input_file_id)
    context.wakes.cancelling()


async def _made_again(context: Context, batch: AnyRow) -> bool:
    """False when the input is gone, or gives another plan."""
    file = await _input_of(context, batch)
    if file is None or batch.plan is None:
        return False
    job = await _job(context, batch, file)
    try:
        parts = await parts_of(context, file)
        report = await make_plan(
            context, batch, parts, job, lambda made: made.plan == batch.plan, apart=True
        )
    except (BlobNotFoundError, InputShortError) as error:
        log.warning("plan_not_made_again", batch=batch.id, error=str(error))
        return False
    return bool(report.plan == batch.plan)


async def _input_of(context: Context, batch: AnyRow) -> Any:
    """The user may have deleted it since: its bytes stay for a while."""
    statement = select(files).where(
        files.c.id == batch.input_file_id,
        files.c.tenant == batch.tenant,
        files.c.purged_at.is_(None),
    )
    async with context.database.read() as conn:
        return (await conn.execute(statement)).first()


async def _job(context: Context, batch: AnyRow, file: AnyRow) -> Job:
    """It was valid once: no limit of today may make it less."""
    names = select(spans.c.model).where(spans.c.batch_id == batch.id)
    async with context.database.read() as conn:
        models = frozenset((await conn.execute(names)).scalars())
    return Job(
        rules=Rules(endpoint=batch.endpoint, models=models, single_model=False),
        max_requests=batch.total,
        max_line_bytes=file.bytes + 1,
        max_embedding_inputs=file.bytes,
        window_bytes=context.config.scheduler.spool_bytes,
    )
