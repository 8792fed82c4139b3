"""Several models, several batches, several schedulers."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import select

from batch_common.bus import Bus
from batch_common.state import BatchStatus
from batch_common.tables import leases, outbox
from support.fake_runner import FakeRunner
from support.nats_process import NatsProcess
from support.wait import until

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]


async def test_a_batch_of_several_models_has_chunks_of_one_each(
    house: House, serving: Serving
) -> None:
    house.start_scheduler()
    await serving("m")
    await serving("n", "r2")
    lines = [request_line(f"a{n}", "mn"[n % 2]) for n in range(30)]
    batch = await house.ended(await house.submit_lines(*lines))
    assert (batch.status, batch.completed, batch.model) == (BatchStatus.COMPLETED, 30, None)
    assert {c.model for c in await house.chunks(batch.id)} == {"m", "n"}
    assert len(await house.results(batch.output_file_id)) == 30


async def test_a_model_without_a_runner_waits_and_shows_its_demand(
    house: House, serving: Serving
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(100)))

    async def offered() -> bool:
        return len(await house.chunks(batch_id)) == 3

    await until(offered, what="the chunks of one runner")
    await serving()
    assert (await house.ended(batch_id)).completed == 100


async def test_two_schedulers_release_and_commit_each_line_once(
    house: House, serving: Serving
) -> None:
    """One has the lease, both answer claims; both are killed, and two others take over."""
    small = msgspec.structs.replace(house.config.scheduler, chunk_max_requests=5)
    house.start_process(scheduler=small)
    house.start_process(scheduler=small)
    await asyncio.gather(serving("m", "r1"), serving("m", "r2"))
    ids = [await house.submit_lines(*(request_line(f"a{n}") for n in range(150))) for _ in range(3)]

    async def begun() -> bool:
        return (await house.batch(ids[0])).commits > 2

    await until(begun, what="the first commits")
    house.kill_processes()
    house.start_scheduler(scheduler=small)
    house.start_scheduler(scheduler=small)
    for batch_id in ids:
        batch = await house.ended(batch_id)
        assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, 150)
        output, _errors = await house.outcome(batch)
        assert output == sorted(f"a{n}" for n in range(150))
    async with house.database.read() as conn:
        [lease] = await conn.execute(select(leases))
        ended = outbox.c.subject == "batch.completed"
        assert len((await conn.execute(select(outbox.c.id).where(ended))).all()) == 3
    assert lease.epoch >= 2  # a starved machine may see it change hands once more


async def test_a_stopped_scheduler_hands_its_lease_on_at_once(house: House) -> None:
    house.start_scheduler()
    first = await house.submit_lines(request_line("a"))
    await house.reached(first, BatchStatus.IN_PROGRESS)
    await house.stop_schedulers()
    async with house.database.read() as conn:
        [lease] = await conn.execute(select(leases))
    assert lease.until == 0


async def test_a_lost_jetstream_store_loses_no_batch(
    house: House, serving: Serving, nats_process: NatsProcess, bus: Bus
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(60)))
    await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="the reconnection")
    await serving()
    batch = await house.ended(batch_id, within_s=60)
    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, 60)
    output, _errors = await house.outcome(batch)
    assert output == sorted(f"a{n}" for n in range(60))
