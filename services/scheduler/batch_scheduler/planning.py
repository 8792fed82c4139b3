"""From an input file to a plan in the blob store."""

from collections.abc import Callable, Sequence

from sqlalchemy import select

from batch_common.formats.content import Part
from batch_common.keys import plan_index, plan_input, plan_schema
from batch_common.tables import task_schemas
from batch_scheduler.context import AnyRow, Context
from batch_scheduler.examine import Job, Report
from batch_scheduler.examiner import run_examination
from batch_scheduler.spool import fill, open_spool, planned_index, planned_input


class InputShortError(Exception):
    """The blob store holds less of the input than its row says."""


async def make_plan(
    context: Context,
    batch: AnyRow,
    parts: Sequence[Part],
    job: Job,
    wanted: Callable[[Report], bool],
    *,
    apart: bool = False,
) -> Report:
    """Examines the input, and stores its plan when the report is `wanted`.

    Doing it twice is fine: plans of one name are the same. `apart`: see run_examination. Raises
    ExaminationDiedError, InputShortError, BlobNotFoundError, BlobUnavailableError,
    BlobStoreFullError, OSError (spools).
    """
    with open_spool(context.spool_dir) as spool, open_spool(context.spool_dir) as plan:
        copied = await fill(spool, context.blobs, parts)
        if copied < sum(part.bytes for part in parts):
            raise InputShortError
        report = await run_examination(job, spool, plan, copied, apart=apart)
        if wanted(report):
            await put_schema(context, batch, report.plan)
            lines = report.requests
            index, text = planned_index(plan, lines), planned_input(spool, plan, lines)
            await context.blobs.put(plan_index(batch.id, report.plan), index)
            await context.blobs.put(plan_input(batch.id, report.plan), text)
    return report


async def put_schema(context: Context, batch: AnyRow, plan: str | None) -> None:
    """The batch's task schema, as it was at its creation, beside its plan; nothing without one."""
    if batch.task_schema is None:
        return
    statement = select(task_schemas.c.content).where(task_schemas.c.id == batch.task_schema)
    async with context.database.read() as conn:
        content = (await conn.execute(statement)).scalar_one()
    await context.blobs.put(plan_schema(batch.id, plan), content)
