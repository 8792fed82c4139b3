"""From `validating` to `in_progress` with a plan, or to `failed` with every error."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import func, insert, select, update

from batch_common import clock
from batch_common.errors import BlobNotFoundError
from batch_common.events import BatchInProgress, Counts
from batch_common.keys import plan_index, plan_input, plan_schema
from batch_common.logs import get_log
from batch_common.outbox import add_batch_event
from batch_common.state import BatchStatus, move_batch
from batch_common.tables import batches, files, spans
from batch_scheduler.context import PASSING, SOURCE, AnyRow, Context
from batch_scheduler.endings import Ending, count_end, end_batch
from batch_scheduler.examine import Job, Report
from batch_scheduler.examiner import IN_THREAD_BYTES, ExaminationDiedError
from batch_scheduler.input_file import find_input, parts_of
from batch_scheduler.metrics import MOVES, VALIDATION
from batch_scheduler.plan import SpanPlan
from batch_scheduler.planning import InputShortError, make_plan
from batch_scheduler.problems import Problem, and_more, no_such_file
from batch_scheduler.rules import Rules

log = get_log(__name__)

# Small inputs are examined some at a time, large ones one after the other.
_SMALL_AT_ONCE: Final = 4
# Deaths of an examination that one batch may cause before it fails.
_DEATHS: Final = 3
# Begun so often without an end, schedulers died of other things or of this input: from the
# first number on it waits for all others and is examined alone, at the second it fails.
_SUSPECT: Final = 2
_HOPELESS: Final = 10
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
        rows = _next(await self._waiting())
        if not rows:
            return False
        await _count(self._context, rows, 1)
        done = await asyncio.gather(*map(self._guarded, rows))
        return all(done)

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
            .order_by(batches.c.examinations >= _SUSPECT, batches.c.id)
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
            await _count(self._context, [batch], -1)
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
        await fail(self._context, batch, [_undigestible()])
        return True


def _next(waiting: Sequence[AnyRow]) -> Sequence[AnyRow]:
    """Those to examine side by side: nobody beside an input that may take the process with it."""
    harmless = [batch for batch in waiting if batch.examinations < _SUSPECT]
    return harmless or waiting[:1]


async def _count(context: Context, rows: Sequence[AnyRow], change: int) -> None:
    """How many examinations were begun: one that ends well, or is put off, counts no more."""
    ids = [batch.id for batch in rows]
    async with context.database.write("batch examine") as conn:
        await conn.execute(
            update(batches)
            .where(batches.c.id.in_(ids), batches.c.status == BatchStatus.VALIDATING)
            .values(examinations=batches.c.examinations + change)
        )


async def validate_batch(context: Context, batch: AnyRow) -> None:
    """Leaves nothing that counts when it is cut off: it then starts again from the input file."""
    if batch.examinations >= _HOPELESS:
        await fail(context, batch, [_undigestible()])
        return
    file = await find_input(context, batch)
    if file is None:
        await fail(context, batch, [no_such_file(batch.input_file_id, batch.tenant)])
        return
    if file.bytes > context.config.limits.max_batch_file_bytes:
        await fail(context, batch, [_too_large(context, file)])
        return
    try:
        await _validate_content(context, batch, file)
    except (BlobNotFoundError, InputShortError):
        await fail(context, batch, [_unavailable(file)])


async def _validate_content(context: Context, batch: AnyRow, file: AnyRow) -> None:
    parts, job = await parts_of(context, file), await _job(context, batch)
    apart = batch.examinations >= _SUSPECT
    report = await make_plan(
        context, batch, parts, job, lambda made: not _problems(context, batch, made), apart=apart
    )
    if found := _problems(context, batch, report):
        await fail(context, batch, found)
    elif not await _start(context, batch, report):
        await _drop_plan(context, batch, report)


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


def _undigestible() -> Problem:
    message = (
        "The server could not examine the input file: the attempt ended its process again and "
        "again. Split the file, and please report this."
    )
    return Problem("server_error", message)


async def _start(context: Context, batch: AnyRow, report: Report) -> bool:
    """Spans, status and event at once. False, with nothing changed, when the batch was cancelled,
    has expired or was started by another scheduler in the meantime.
    """
    total, at = report.requests, clock.timestamp()
    models = {span.model for span in report.spans}
    event = BatchInProgress(
        batch_id=batch.id,
        tenant=batch.tenant,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        at=at,
        metadata=batch.metadata,
        counts=Counts(total),
    )
    values = {
        "total": total,
        "model": models.pop() if len(models) == 1 else None,
        "plan": report.plan,
        "examinations": 0,
    }
    source, target = BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS
    rows = [_span_row(batch.id, n, span) for n, span in enumerate(report.spans)]
    async with context.database.write("batch start") as conn:
        if not await move_batch(conn, batch.id, source, target, at, **values):
            return False
        await conn.execute(insert(spans), rows)
        await add_batch_event(conn, event, SOURCE, batch.traceparent)
    MOVES.labels(target).inc()
    log.info("batch_planned", batch=batch.id, requests=total, spans=len(report.spans))
    context.wakes.planned()
    return True


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


async def _drop_plan(context: Context, batch: AnyRow, report: Report) -> None:
    """Of a batch that ended before it was planned; one that runs may have this very plan."""
    statement = select(batches.c.plan).where(batches.c.id == batch.id)
    async with context.database.read() as conn:
        plan = (await conn.execute(statement)).scalar()
    if plan is None:
        keys = [make(batch.id, report.plan) for make in (plan_input, plan_index, plan_schema)]
        await context.blobs.delete(keys)


async def fail(context: Context, batch: AnyRow, found: Sequence[Problem]) -> None:
    problems = [msgspec.to_builtins(problem) for problem in found]
    ending = Ending(status=BatchStatus.FAILED, problems=problems)
    async with context.database.write("batch fail") as conn:
        ended = await end_batch(conn, batch, ending, clock.timestamp(), context.config.sinks)
    if ended:
        count_end(batch, BatchStatus.FAILED)
        log.info("batch_failed", batch=batch.id, code=found[0].code, problems=len(found))
