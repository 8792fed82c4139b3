"""What is removed, and what is not yet."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.keys import file_content, plan_prefix
from batch_common.state import BatchStatus, DeliveryState
from batch_common.tables import deliveries, files, spans, webhook_endpoints
from batch_scheduler.context import Context
from batch_scheduler.fleet import Fleet
from batch_scheduler.rates import Rates
from batch_scheduler.sweep import GRACE_S, sweep_batches, sweep_endpoints, sweep_files
from batch_scheduler.wakes import Wakes
from support.fake_runner import FakeRunner
from support.wait import until
from support.webhook_endpoint import add_endpoint, set_endpoint

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]
LONG_AGO = 1


@pytest.fixture
def context(house: House, bus: Bus, blobs: BlobStore, tmp_path: Path) -> Context:
    return Context(
        config=house.config,
        database=house.database,
        blobs=blobs,
        bus=bus,
        spool_dir=tmp_path / "spool",
        fleet=Fleet(house.config),
        rates=Rates(),
        wakes=Wakes(),
    )


async def row(house: House, file_id: str) -> Any:
    async with house.database.read() as conn:
        return (await conn.execute(select(files).where(files.c.id == file_id))).one()


async def there(house: House, key: str) -> bool:
    folder = key.rpartition("/")[0] + "/"
    return key in {info.key for info in await house.blobs.list(folder)}


async def test_bytes_go_a_grace_after_the_file(house: House, context: Context) -> None:
    recently = clock.timestamp() - GRACE_S + 60
    going = [
        await house.upload(b"x", **when)
        for when in (
            {"deleted_at": LONG_AGO},
            {"expires_at": LONG_AGO},
        )
    ]
    staying = [
        await house.upload(b"x", **when)
        for when in (
            {},
            {"deleted_at": recently},
            {"expires_at": recently},
        )
    ]
    wanted = await house.upload(request_line("a"), deleted_at=LONG_AGO)
    await house.submit(wanted)
    await sweep_files(context)
    for file_id in going:
        assert not await there(house, file_content(file_id))
        assert (await row(house, file_id)).purged_at
    for file_id in [*staying, wanted]:
        assert await there(house, file_content(file_id))
        assert (await row(house, file_id)).purged_at is None


async def test_results_go_with_their_chunks_but_not_before_their_delivery(
    house: House, context: Context, serving: Serving
) -> None:
    house.start_scheduler()
    await serving()
    batch = await house.ended(await house.submit_lines(*(request_line(f"a{n}") for n in range(15))))
    keys = [chunk.output_key for chunk in await house.chunks(batch.id)]
    assert len(keys) == 2
    output = await row(house, batch.output_file_id)
    async with house.database.write("in a test") as conn:
        gone = update(files).where(files.c.id == output.id).values(deleted_at=LONG_AGO)
        await conn.execute(gone)
    await sweep_files(context)
    assert [await there(house, key) for key in [*keys, output.blob_key]] == [True] * 3
    async with house.database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED))
    await sweep_files(context)
    assert [await there(house, key) for key in [*keys, output.blob_key]] == [False] * 3
    assert (await row(house, output.id)).purged_at


async def test_a_plan_stays_for_a_retry_as_long_as_the_error_file(
    house: House, context: Context, serving: Serving
) -> None:
    house.start_scheduler()
    good = await house.submit_lines(request_line("a"))
    bad = await house.submit_lines(request_line("b"), request_line("c"))
    await house.reached(bad, BatchStatus.IN_PROGRESS)
    await house.cancel(bad)
    await serving()
    errors = (await house.ended(bad)).error_file_id
    await house.ended(good)

    async def plan_of(batch_id: str) -> int:
        return len(await house.blobs.list(plan_prefix(batch_id)))

    async def swept() -> bool:
        async with house.database.read() as conn:
            left = (await conn.execute(select(spans.c.batch_id))).all()
        return not left

    async with house.database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED))
    await until(swept, what="the sweep of both plans")
    assert (await plan_of(good), await plan_of(bad)) == (0, 2)
    async with house.database.write("in a test") as conn:
        gone = update(files).where(files.c.id == errors).values(deleted_at=LONG_AGO)
        await conn.execute(gone)
    await sweep_files(context)
    assert (await plan_of(bad), bool((await row(house, errors)).purged_at)) == (0, True)


async def test_a_file_without_bytes_is_purged(house: House, context: Context) -> None:
    file_id = await house.upload(b"", composed=True, deleted_at=LONG_AGO)
    await house.blobs.delete([file_content(file_id)])
    await sweep_files(context)
    assert (await row(house, file_id)).purged_at


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.FAILED])
async def test_a_plan_stays_while_its_results_may_be_delivered(
    house: House, context: Context, serving: Serving, state: DeliveryState
) -> None:
    """Sinks are given each result with its request, also after a delivery was put right."""
    house.start_scheduler()
    await serving()
    batch = await house.ended(await house.submit_lines(request_line("a")))
    async with house.database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(state=state))
    await house.stop_schedulers()
    await sweep_batches(context)
    assert len(await house.blobs.list(plan_prefix(batch.id))) == 2
    async with house.database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED))
    await sweep_batches(context)
    assert not await house.blobs.list(plan_prefix(batch.id))


async def test_deleted_endpoints_go_a_grace_later(house: House, context: Context) -> None:
    recently = clock.timestamp() - int(GRACE_S) + 60
    times = [LONG_AGO] * 60 + [recently, None]
    ids = [await add_endpoint(house.database, "https://example.com/hook") for _ in times]
    for endpoint, at in zip(ids, times, strict=True):
        await set_endpoint(house.database, endpoint, deleted_at=at)
    assert await sweep_endpoints(context), "more than one turn takes"
    assert not await sweep_endpoints(context)
    async with house.database.read() as conn:
        left = (await conn.execute(select(webhook_endpoints.c.id))).scalars().all()
    assert sorted(left) == sorted(ids[-2:])
