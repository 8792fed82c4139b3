"""From `validating` to `in_progress` with a plan, or to `failed` with every error."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import func, insert, select

from batch_common import clock
from batch_common.errors import BlobNotFoundError
from batch_common.events import BatchInProgress, Counts
from batch_common.formats.content import Part
from batch_common.keys import plan_index, plan_input
from batch_common.logs import get_log
from batch_common.outbox import add_batch_event
from batch_common.state import BatchStatus, move_batch
from batch_common.tables import batches, files, spans
from batch_scheduler.context import PASSING, SOURCE, AnyRow, Context
from batch_scheduler.endings import Ending, end_batch
from batch_scheduler.examine import Job, Report
from batch_scheduler.examiner import IN_THREAD_BYTES, ExaminationDiedError, run_examination
from batch_scheduler.input_file import find_input, parts_of
from batch_scheduler.metrics import BATCHES, VALIDATION
from batch_scheduler.plan import SpanPlan
from batch_scheduler.problems import Problem, and_more, no_such_file
from batch_scheduler.rules import Rules
from batch_scheduler.spool import fill, open_spool, planned_index, planned_input

log = get_log(__name__)

# Small inputs are examined some at a time, large ones one after the other.
_SMALL_AT_ONCE: Final = 4
# Deaths of an examination that one batch may cause before it fails.
_DEATHS: Final = 3
# After a passing fault a batch stands back for so long: the ones behind it go on meanwhile.
_STAND_BACK_S: Final = 5.0


class Validator:
    """Two of them share the work, so that a large input holds up no small one."""

    def __init__(self, context: Context, *, large: bool) -> None:
        self._context = context
        self._large = large
        self._deaths: dict[str, int] = {}
        # Until when a batch stands back, by the monotonic clock.
        self._back: dict[str, float] = {}

    async def validate(self) -> bool:
        """True when there may be more."""
        rows = await self._waiting()
        done = await asyncio.gather(*map(self._guarded, rows))
        return bool(done) and all(done)

    async def _waiting(self) -> Sequence[AnyRow]:
        now = time.monotonic()
        self._back = {batch_id: until for batch_id, until in self._back.items() if until > now}
        size = func.coalesce(files.c.bytes, 0)
        statement = (
            select(batches)
            .outerjoin(files, files.c.id == batches.c.input_file_id)
            .where(
                batches.c.status == BatchStatus.VALIDATING,
                batches.c.expires_at > clock.now(),
                batches.c.id.not_in(self._back),
                size > IN_THREAD_BYTES if self._large else size <= IN_THREAD_BYTES,
            )
            .order_by(batches.c.id)
            .limit(1 if self._large else _SMALL_AT_ONCE)
        )
        async with self._context.database.read() as conn:
            return (await conn.execute(statement)).all()

    async def _guarded(self, batch: AnyRow) -> bool:
        """False when it is to be tried again later."""
        started = time.monotonic()
        try:
            await validate_batch(self._context, batch)
        except ExaminationDiedError as error:
            return await self._died(batch, error)
        except PASSING as error:
            log.warning("validation_failed", batch=batch.id, error=str(error))
            self._back[batch.id] = started + _STAND_BACK_S
            return False
        VALIDATION.observe(time.monotonic() - started)
        self._deaths.pop(batch.id, None)
        return True

    async def _died(self, batch: AnyRow, error: ExaminationDiedError) -> bool:
        deaths = self._deaths[batch.id] = self._deaths.get(batch.id, 0) + 1
        log.error("examination_died", batch=batch.id, times=deaths, error=str(error))
        if deaths < _DEATHS:
            self._back[batch.id] = time.monotonic() + _STAND_BACK_S
            return False
        del self._deaths[batch.id]
        message = "The server could not examine the input file; please report this."
        await fail(self._context, batch, [Problem("server_error", message)])
        return True


async def validate_batch(context: Context, batch: AnyRow) -> None:
    """Leaves no trace when it is cut off: it then starts again from the input file."""
    file = await find_input(context, batch)
    if file is None:
        await fail(context, batch, [no_such_file(batch.input_file_id, batch.tenant)])
        return
    if file.bytes > context.config.limits.max_batch_file_bytes:
        await fail(context, batch, [_too_large(context, file)])
        return
    try:
        parts = await parts_of(context, file)
        await _validate_content(context, batch, parts)
    except (BlobNotFoundError, _InputShortError):
        await fail(context, batch, [_unavailable(file)])


class _InputShortError(Exception):
    """The blob store holds less of the input than its row says."""


async def _validate_content(context: Context, batch: AnyRow, parts: Sequence[Part]) -> None:
    with open_spool(context.spool_dir) as spool, open_spool(context.spool_dir) as plan:
        copied = await fill(spool, context.blobs, parts)
        if copied != sum(part.bytes for part in parts):
            raise _InputShortError
        report = await run_examination(await _job(context, batch), spool, plan, copied)
        if found := _problems(context, batch, report):
            await fail(context, batch, found)
            return
        lines = report.requests
        await context.blobs.put(plan_index(batch.id), planned_index(plan, lines))
        await context.blobs.put(plan_input(batch.id), planned_input(spool, plan, lines))
    await _start(context, batch, report.spans)


async def _job(context: Context, batch: AnyRow) -> Job:
    limits, settings = context.config.limits, context.config.scheduler
    await context.look_at_fleet()
    return Job(
        rules=Rules(
            endpoint=batch.endpoint,
            models=await context.fleet.known_models(context.database),
            single_model=limits.single_model,
        ),
        max_requests=limits.max_requests,
        max_line_bytes=settings.chunk_max_bytes,
        max_embedding_inputs=limits.max_embedding_inputs,
        window_bytes=settings.spool_bytes,
    )


def _problems(context: Context, batch: AnyRow, report: Report) -> list[Problem]:
    found = list(report.problems)
    if report.problem_count > len(found):
        found.append(and_more(report.problem_count - len(found)))
    if not found:
        models = sorted({span.model for span in report.spans})
        found = [p for model in models if (p := _unsupported(context, batch.endpoint, model))]
    return found


def _unsupported(context: Context, endpoint: str, model: str) -> Problem | None:
    """Runners of the model are there, and none of them has the endpoint."""
    offered = context.fleet.of(model).endpoints
    if not offered or endpoint in offered:
        return None
    message = (
        f"The model '{model}' does not serve {endpoint} here; its runners serve "
        f"{', '.join(sorted(offered))}."
    )
    return Problem("unsupported_endpoint", message, "endpoint")


def _too_large(context: Context, file: AnyRow) -> Problem:
    most = context.config.limits.max_batch_file_bytes
    message = f"The input file has {file.bytes} bytes; at most {most} are allowed for a batch."
    return Problem("file_too_large", message, "file_id")


def _unavailable(file: AnyRow) -> Problem:
    message = f"The content of file {file.id} is no longer there; upload it again."
    return Problem("input_unavailable", message, "file_id")


async def _start(context: Context, batch: AnyRow, plan: Sequence[SpanPlan]) -> None:
    """Spans, status and event at once; nothing when the batch was cancelled in the meantime."""
    total, at = plan[-1].end_line, clock.timestamp()
    models = {span.model for span in plan}
    event = BatchInProgress(
        batch_id=batch.id,
        tenant=batch.tenant,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        at=at,
        metadata=batch.metadata,
        counts=Counts(total),
    )
    model = models.pop() if len(models) == 1 else None
    source, target = BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS
    async with context.database.write("batch start") as conn:
        if not await move_batch(conn, batch.id, source, target, at, total=total, model=model):
            return
        await conn.execute(insert(spans), [_span_row(batch.id, n, s) for n, s in enumerate(plan)])
        await add_batch_event(conn, event, SOURCE, batch.traceparent)
    BATCHES.labels(target).inc()
    log.info("batch_planned", batch=batch.id, requests=total, spans=len(plan))
    context.wakes.planned()


def _span_row(batch_id: str, ordinal: int, span: SpanPlan) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "ordinal": ordinal,
        "model": span.model,
        "first_line": span.first_line,
        "end_line": span.end_line,
        "first_byte": span.first_byte,
        "end_byte": span.end_byte,
        "tokens": span.tokens,
        "next_line": span.first_line,
        "next_byte": span.first_byte,
    }


async def fail(context: Context, batch: AnyRow, found: Sequence[Problem]) -> None:
    problems = [msgspec.to_builtins(problem) for problem in found]
    ending = Ending(status=BatchStatus.FAILED, problems=problems)
    async with context.database.write("batch fail") as conn:
        ended = await end_batch(conn, batch, ending, clock.timestamp(), context.config.sinks)
    if ended:
        BATCHES.labels(BatchStatus.FAILED).inc()
        log.info("batch_failed", batch=batch.id, code=found[0].code, problems=len(found))
