"""Batches with a task schema: it lies beside their plan, and their chunks name it."""

from batch_common import subjects
from batch_common.config import Sinks
from batch_common.keys import plan_prefix, plan_schema
from batch_common.state import BatchStatus
from batch_common.task_schema import encode_task_schema
from batch_scheduler.context import Context
from batch_scheduler.plans import PlanWatch
from support.fake_runner import FakeRunner
from support.task_schemas import example, keep_schema
from support.wait import until

from .conftest import House, request_line
from .test_plan_loss import forget_input

SCHEMA = example("classification")
LINES = [request_line(f"a{n}") for n in range(10)]


async def submitted(house: House) -> str:
    schema = await keep_schema(house.database, SCHEMA)
    return await house.submit_lines(*LINES, task_schema=schema)


async def test_chunks_name_the_schema_as_it_was_kept(house: House, runner: FakeRunner) -> None:
    house.start_scheduler()
    batch_id = await submitted(house)
    work = await runner.taken()
    plan = (await house.batch(batch_id)).plan
    assert work.ready.schema_key == plan_schema(batch_id, plan)
    assert await house.blobs.get(work.ready.schema_key) == encode_task_schema(SCHEMA)


async def test_a_batch_without_one_has_none(house: House, runner: FakeRunner) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*LINES)
    assert (await runner.taken()).ready.schema_key is None
    assert len(await house.blobs.list(plan_prefix(batch_id))) == 2


async def test_a_chunk_that_is_offered_again_names_it_too(
    house: House, runner: FakeRunner, context: Context
) -> None:
    """Its message was lost with the stream."""
    house.start_scheduler()
    batch_id = await submitted(house)

    async def released() -> bool:
        return bool(await house.chunks(batch_id))

    await until(released, what="the chunk")
    [chunk] = await house.chunks(batch_id)
    subject = subjects.chunk_ready(chunk.model, chunk.id)

    async def queued() -> bool:
        return await context.bus.holds(subjects.CHUNKS, subject)

    await until(queued, what="its message")
    await context.bus.purge(subjects.CHUNKS, subject)
    ready = (await runner.taken()).ready
    assert ready.generation == 2
    assert ready.schema_key is not None


async def test_a_lost_schema_comes_back_from_the_database(
    house: House, runner: FakeRunner, context: Context
) -> None:
    """Though the input is gone: the rest of the plan is there, and nothing is given up."""
    house.start_scheduler()
    batch_id = await submitted(house)
    batch = await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    await house.stop_schedulers()
    await forget_input(house, batch_id)
    key = plan_schema(batch_id, batch.plan)
    await house.blobs.delete([key])
    await PlanWatch(context).look()
    assert await house.blobs.get(key) == encode_task_schema(SCHEMA)
    assert (await house.batch(batch_id)).plan_lost_at is None


async def test_it_goes_with_the_plan(house: House, runner: FakeRunner) -> None:
    house.start_scheduler(sinks=Sinks())
    batch_id = await submitted(house)
    await runner.do(await runner.taken())
    await house.ended(batch_id)

    async def swept() -> bool:
        return not await house.blobs.list(plan_prefix(batch_id))

    await until(swept, what="the plan's end")
