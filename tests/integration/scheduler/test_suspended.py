"""Schedulers that are suspended in mid-step, lose their lease, and go on as if nothing had been."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import select

from batch_common import crash_points
from batch_common.crash_points import Side
from batch_common.errors import DatabaseUnavailableError
from batch_common.state import BatchStatus
from batch_common.tables import files, leases, outbox
from support.fake_runner import FakeRunner
from support.wait import until

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]
CrashHook = Callable[[crash_points.Hook], None]

IDS = [f"a{n}" for n in range(57)] + ["bad1", "bad2", "bad3"]


def slow(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.faults)


WHO: ContextVar[str] = ContextVar("WHO", default="")


class Suspension:
    """Stops everything that one scheduler does beyond its own memory, from a point on."""

    def __init__(self, point: str, side: Side) -> None:
        self._place = (point, side)
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def hook(self, name: str, side: Side) -> None:
        if WHO.get() != "old" or name.startswith(("answer ", "commit claim ")):
            return  # the claims it would leave unanswered are another test's matter
        if (name, side) == self._place:
            self.begun.set()
        if not self.begun.is_set():
            return
        if name == "commit lease take" and side is Side.BEFORE:
            raise DatabaseUnavailableError("suspended")
        # Held within a transaction it would hold its locks; Postgres ends that by itself.
        if not (name.startswith("commit ") and side is Side.BEFORE):
            await self.over.wait()


async def settled_state(house: House, batch_id: str) -> object:
    """All that a late writer might change."""
    async with house.database.read() as conn:
        events = await conn.execute(
            select(outbox.c.id, outbox.c.subject).where(outbox.c.subject.startswith("batch."))
        )
        made = await conn.execute(select(files).order_by(files.c.id))
        return (
            await house.batch(batch_id),
            [dict(c._mapping) | {"swept_at": 0} for c in await house.chunks(batch_id)],
            sorted(map(tuple, events)),
            made.all(),
        )


@pytest.fixture
def suspend(house: House, crash_hook: CrashHook) -> Iterator[Callable[[str, Side], Suspension]]:
    """Goes on before the house is torn down, which waits for every scheduler."""
    made: list[Suspension] = []

    def start(point: str, side: Side) -> Suspension:
        made.append(Suspension(point, side))
        crash_hook(made[-1].hook)
        return made[-1]

    yield start
    for suspension in made:
        suspension.over.set()


@pytest.mark.parametrize(
    ("point", "side", "database_settings"),
    [
        ("put plan", Side.BEFORE, "sqlite"),
        slow("put plan", Side.AFTER, "postgres"),
        slow("commit batch start", Side.AFTER, "sqlite"),
        slow("commit chunk release", Side.AFTER, "postgres"),
        ("commit chunk settle", Side.AFTER, "postgres"),
        slow("delete segment", Side.BEFORE, "sqlite"),
        ("put results", Side.BEFORE, "postgres"),
        slow("put results", Side.AFTER, "sqlite"),
        slow("put chunk manifest", Side.BEFORE, "postgres"),
        slow("put chunk errors", Side.BEFORE, "sqlite"),
    ],
    indirect=["database_settings"],
)
async def test_what_a_suspended_scheduler_does_late_changes_nothing(
    house: House,
    serving: Serving,
    suspend: Callable[[str, Side], Suspension],
    point: str,
    side: Side,
) -> None:
    """Another one has taken over and ended the batch before it goes on."""
    suspension = suspend(point, side)
    WHO.set("old")
    house.start_scheduler()
    WHO.set("")

    async def leads() -> bool:
        async with house.database.read() as conn:
            return (await conn.execute(select(leases))).first() is not None

    await until(leads, what="the first lease")
    batch_id = await house.submit_lines(*map(request_line, IDS))
    cancelled = point.startswith("put chunk")
    if cancelled:
        await house.reached(batch_id, BatchStatus.IN_PROGRESS)
        await house.cancel(batch_id)
    await serving()
    await asyncio.wait_for(suspension.begun.wait(), 20)
    house.start_scheduler()
    batch = await house.ended(batch_id, within_s=60)
    before = await settled_state(house, batch_id)
    suspension.over.set()
    # Each ends what it has in hand.
    await house.stop_schedulers()
    assert await settled_state(house, batch_id) == before
    assert batch.status == (BatchStatus.CANCELLED if cancelled else BatchStatus.COMPLETED)
    output, errors = await house.outcome(batch)
    assert sorted(output + errors) == sorted(IDS)
    async with house.database.read() as conn:
        [lease] = await conn.execute(select(leases))
    assert lease.epoch >= 2
