"""What the scheduler answers decides what becomes of a chunk."""

import asyncio
import time

from batch_common import subjects
from batch_common.bus import Bus
from batch_common.events import ChunkClaim, ChunkReady
from batch_common.pull import Consumer, Delivery, Puller
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


async def redelivered(bus: Bus, ready: ChunkReady, ack_wait_s: float = 2.0) -> Delivery:
    """The chunk's message as the next runner gets it."""
    puller = Puller(
        bus,
        Consumer(
            stream=subjects.CHUNKS,
            durable=subjects.runner_durable(ready.model),
            filter=subjects.chunks_of(ready.model),
            ack_wait_s=ack_wait_s,
        ),
    )
    for _ in range(5):
        if (delivery := await puller.fetch()) is not None:
            return delivery
    raise AssertionError(f"{ready.chunk} was not delivered again")


async def test_stop_flushes_releases_and_settles(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(prompts(1000))
    runners.start(options={"requests_per_s": "100"})

    def stop_after_some(claim: ChunkClaim) -> str:
        return "stop" if claim.completed >= 20 else "go"

    scheduler.answer = stop_after_some
    await scheduler.release(ready)
    await until(lambda: scheduler.settled(ready), what="the ack")
    last = scheduler.claims[-1]
    assert last.released
    assert last.completed >= 20
    await asyncio.sleep(0.2)  # the engine's log is a moment late
    served = len(runners.served())
    await asyncio.sleep(0.3)  # nothing more is sent
    assert len(runners.served()) == served < 200
    assert scheduler.completions == []


async def test_stop_before_work_sends_nothing(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    scheduler.answer = lambda _: "stop"
    [ready] = await scheduler.plan(prompts(10))
    await scheduler.release(ready)
    runners.start()
    await until(lambda: scheduler.settled(ready), what="the ack")
    assert runners.served() == []
    assert await scheduler.blobs.list(ready.prefix) == []


async def test_busy_means_later(scheduler: ScriptedScheduler, runners: Runners) -> None:
    scheduler.answer = lambda _: "busy" if len(scheduler.claims) == 1 else "go"
    [ready] = await scheduler.plan(prompts(10))
    await scheduler.release(ready)
    runners.start()
    await scheduler.completed(ready)
    first, second = scheduler.claims[0].attempt, scheduler.claims[1].attempt
    assert first != second


async def test_busy_in_mid_work_lets_go_without_settling(
    bus: Bus, scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Another attempt was let in while we were not heard of; the message is its to settle."""
    [ready] = await scheduler.plan(prompts(1000))

    def taken_over(claim: ChunkClaim) -> str:
        return "busy" if claim.completed >= 20 or claim.released else "go"

    scheduler.answer = taken_over
    await scheduler.release(ready)
    runner = runners.start(options={"requests_per_s": "100"}, chunks_held=1)
    await until(lambda: any(claim.released for claim in scheduler.claims), what="the release")
    await runner.kill()
    assert not await scheduler.settled(ready)
    assert scheduler.completions == []


async def test_without_a_scheduler_the_work_goes_on(
    scheduler: ScriptedScheduler, runners: Runners, monkeypatch
) -> None:
    """The claim saves work; the commit, later, gives safety."""
    monkeypatch.setattr("batch_gpu_runner.claim.NO_ANSWER_S", 1.0)
    scheduler.answer = lambda _: None
    [ready] = await scheduler.plan(prompts(30))
    await scheduler.release(ready)
    runners.start(ack_wait_s=10.0)
    assert (await scheduler.completed(ready)).completed == 30


async def test_claims_tell_the_progress_that_is_durable(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(prompts(150))
    await scheduler.release(ready)
    runners.start(options={"requests_per_s": "100"}, flush_s=0.2)
    await scheduler.completed(ready)
    counts = [claim.completed for claim in scheduler.claims]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


async def test_a_zombie_settles_nothing(
    bus: Bus, scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """The process sleeps past ack_wait: its ack would be for the next runner's delivery."""
    [ready] = await scheduler.plan(prompts(1000))
    await scheduler.release(ready)
    runner = runners.start(options={"requests_per_s": "100"}, ack_wait_s=1.0, chunks_held=1)
    await until(lambda: len(runners.served()) > 30, what="some work")
    time.sleep(1.3)  # noqa: ASYNC251 - the whole process is suspended, as by SIGSTOP
    await until(lambda: any(claim.released for claim in scheduler.claims), what="the release")
    lost = scheduler.claims[0].attempt
    segments = [info.key for info in await scheduler.blobs.list(ready.prefix + lost + "/")]
    assert segments, "what was done before the sleep is saved"
    assert not await scheduler.settled(ready)
    await until(
        lambda: len({claim.attempt for claim in scheduler.claims}) > 1, what="the next delivery"
    )
    await runner.kill()
    assert scheduler.completions == []


async def test_a_zombie_settles_nothing_whatever_it_is_answered(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Suspended while it asked: `stop` would have it ack what is the next runner's by now."""
    [ready] = await scheduler.plan(prompts(10))

    def sleep_first(_: ChunkClaim) -> str:
        if len(scheduler.claims) == 1:
            time.sleep(1.3)  # the whole process is suspended, as by SIGSTOP
        return "stop"

    scheduler.answer = sleep_first
    await scheduler.release(ready)
    runners.start(ack_wait_s=1.0, chunks_held=1)
    await until(
        lambda: len({claim.attempt for claim in scheduler.claims}) > 1, what="the next delivery"
    )
