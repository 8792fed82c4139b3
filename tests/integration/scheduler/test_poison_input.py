"""Inputs whose examination ends badly: counted in the row, so that no restart forgets it."""

import pytest
from sqlalchemy import update

from batch_common.crash_points import Side
from batch_common.errors import BlobUnavailableError
from batch_common.state import BatchStatus
from batch_common.tables import batches

from .conftest import House, request_line
from .test_collect import CrashHook

one_database = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)


async def died_before(house: House, batch_id: str, times: int) -> None:
    """Schedulers that were killed while they examined this input."""
    async with house.database.write("in a test") as conn:
        mine = update(batches).where(batches.c.id == batch_id)
        await conn.execute(mine.values(examinations=times))


async def test_an_input_that_takes_schedulers_with_it_fails_at_last(house: House) -> None:
    poison = await house.submit_lines(request_line("a"))
    await died_before(house, poison, 10)
    innocent = await house.submit_lines(request_line("b"))
    house.start_scheduler()
    await house.reached(innocent, BatchStatus.IN_PROGRESS)
    batch = await house.ended(poison)
    assert batch.status == BatchStatus.FAILED
    assert [error["code"] for error in batch.errors] == ["server_error"]


@one_database
async def test_a_suspect_waits_for_all_others(house: House, crash_hook: CrashHook) -> None:
    """It would take the ones beside it along; examined alone, it may turn out harmless."""
    suspect = await house.submit_lines(request_line("a"))
    await died_before(house, suspect, 2)
    others = [await house.submit_lines(request_line("b")) for _ in range(6)]
    order: list[int] = []

    async def note(name: str, side: Side) -> None:
        if (name, side) == ("commit batch start", Side.AFTER):
            planned = [await house.batch(one) for one in (suspect, *others)]
            order.append(sum(one.status == BatchStatus.IN_PROGRESS for one in planned[:1]))

    crash_hook(note)
    house.start_scheduler()
    batch = await house.reached(suspect, BatchStatus.IN_PROGRESS)
    assert batch.examinations == 0
    assert len(order) >= 6
    assert order[:6] == [0] * 6


@one_database
async def test_passing_faults_are_no_deaths(house: House, crash_hook: CrashHook) -> None:
    failures = 2

    async def fail(name: str, side: Side) -> None:
        nonlocal failures
        if (name, side) == ("put plan", Side.BEFORE) and failures:
            failures -= 1
            raise BlobUnavailableError("for the test")

    crash_hook(fail)
    batch_id = await house.submit_lines(request_line("a"))
    house.start_scheduler()
    await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    assert failures == 0
    assert (await house.batch(batch_id)).examinations == 0
