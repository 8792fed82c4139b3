"""Background tasks that stop the service when they die."""

import asyncio

import pytest

from batch_common.tasks import Tasks, cancel_all, repeat, wait_any


async def test_a_dead_task_stops_the_service_and_is_heard_of() -> None:
    stop = asyncio.Event()

    async def die() -> None:
        raise LookupError("heartbeat")

    async def serve() -> None:
        async with Tasks(stop) as tasks:
            tasks.spawn("heartbeat", die())
            await asyncio.wait_for(stop.wait(), 5)

    with pytest.raises(LookupError, match="heartbeat"):
        await serve()


async def test_the_first_death_is_the_one_reported() -> None:
    stop = asyncio.Event()

    async def die(name: str) -> None:
        raise LookupError(name)

    async def serve() -> None:
        async with Tasks(stop) as tasks:
            tasks.spawn("a", die("first"))
            tasks.spawn("b", die("second"))
            await asyncio.wait_for(stop.wait(), 5)

    with pytest.raises(LookupError, match="first"):
        await serve()


async def test_leaving_cancels_and_joins() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with Tasks(asyncio.Event()) as tasks:
        tasks.spawn("work", work())
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_the_blocks_own_error_wins() -> None:
    stop = asyncio.Event()

    async def die() -> None:
        raise LookupError

    async def serve() -> None:
        async with Tasks(stop) as tasks:
            tasks.spawn("x", die())
            await asyncio.wait_for(stop.wait(), 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await serve()


async def test_a_task_that_ends_stops_nothing() -> None:
    stop = asyncio.Event()
    async with Tasks(stop) as tasks:
        await tasks.spawn("x", asyncio.sleep(0))
    assert not stop.is_set()


async def test_cancel_all_survives_tasks_that_raise() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise LookupError from None

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_all({task})
    assert task.done()
    with pytest.raises(LookupError):
        task.result()


async def test_wait_any_leaves_no_task_behind() -> None:
    one, other = asyncio.Event(), asyncio.Event()
    before = asyncio.all_tasks()
    await wait_any(one, other, timeout_s=0.01)
    one.set()
    await asyncio.wait_for(wait_any(one, other, timeout_s=60), 5)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


class Work:
    """Returns or raises what it is told to, then sets `stop`."""

    def __init__(self, *steps: bool | Exception) -> None:
        self.steps = list(steps)
        self.stop = asyncio.Event()
        self.wake = asyncio.Event()
        self.times: list[float] = []

    async def __call__(self) -> bool:
        self.times.append(asyncio.get_running_loop().time())
        step = self.steps.pop(0)
        if not self.steps:
            self.stop.set()
        if isinstance(step, Exception):
            raise step
        return step

    async def run(self, every_s: float) -> None:
        running = repeat(
            "work", self, wake=self.wake, stop=self.stop, every_s=every_s, catch=OSError
        )
        await asyncio.wait_for(running, 10)


async def test_more_to_do_is_done_at_once() -> None:
    work = Work(True, True, True, False)
    await work.run(every_s=3600)
    assert len(work.times) == 4


async def test_a_wake_ends_the_pause() -> None:
    work = Work(False, False)
    asyncio.get_running_loop().call_later(0.05, work.wake.set)
    await work.run(every_s=3600)
    assert len(work.times) == 2


async def test_a_wake_during_the_work_is_not_lost() -> None:
    """Race: a row commits after the query and before the wait."""
    work = Work(False, False)
    first = work.__call__

    async def busy() -> bool:
        work.wake.set()
        return await first()

    await asyncio.wait_for(
        repeat("w", busy, wake=work.wake, stop=work.stop, every_s=3600, catch=OSError), 5
    )
    assert len(work.times) == 2


async def test_caught_errors_are_tried_again_with_growing_pauses() -> None:
    work = Work(OSError(), OSError(), OSError(), False)
    work.wake.set()  # a wake must not turn failures into a hot loop
    await work.run(every_s=0.01)
    pauses = [b - a for a, b in zip(work.times, work.times[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= 0.1


async def test_a_failure_waits_once_not_twice() -> None:
    work = Work(OSError(), False)
    await work.run(every_s=0.2)
    assert 0.35 < work.times[1] - work.times[0] < 0.7


async def test_other_errors_end_it() -> None:
    work = Work(LookupError(), False)
    with pytest.raises(LookupError):
        await work.run(every_s=0.01)


async def test_stop_ends_a_pause_at_once() -> None:
    work = Work(False, False)
    asyncio.get_running_loop().call_later(0.05, work.stop.set)
    await asyncio.wait_for(work.run(every_s=3600), 2)
    assert len(work.times) == 1
