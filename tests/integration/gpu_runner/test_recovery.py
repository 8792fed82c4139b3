"""What a crash, a drain or a lost store leaves, and who goes on with it."""

import asyncio
import signal

from batch_common.bus import Bus
from support.nats_process import NatsProcess
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

SLOW = {"requests_per_s": "150"}


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


async def saved(scheduler: ScriptedScheduler, prefix: str) -> int:
    return len([info for info in await scheduler.blobs.list(prefix) if "segment" in info.key])


async def test_a_killed_runner_repeats_only_what_was_not_saved(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(prompts(200))
    await scheduler.release(ready)
    first = runners.start(options=SLOW, flush_results=10, window=8)
    await until(lambda: any(claim.completed >= 50 for claim in scheduler.claims), what="progress")
    await first.kill()
    kept = max(claim.completed for claim in scheduler.claims)
    runners.start(flush_results=10, window=8)
    manifest = await scheduler.completed(ready)
    assert manifest.completed == 200
    served = runners.served()
    repeated = len(served) - len(set(served))
    # In flight, answered but not flushed, or being flushed when the runner was killed.
    assert repeated <= 8 + 2 * 10 + 8
    assert kept >= 50
    lines = await scheduler.lines(manifest.output)
    assert sorted(line["custom_id"] for line in lines) == sorted(f"r{n}" for n in range(200))
    attempts = {key.split("/")[-2] for key in manifest.segments}
    assert len(attempts) == 2


async def test_a_drained_runner_hands_back_at_once(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(prompts(300))
    await scheduler.release(ready)
    first = runners.start(options=SLOW, ack_wait_s=30.0)
    await until(lambda: any(claim.completed >= 30 for claim in scheduler.claims), what="progress")
    await first.drain()
    assert scheduler.claims[-1].released
    done = len(runners.served())
    assert scheduler.claims[-1].completed == done, "every request in flight was waited for"
    assert not await scheduler.settled(ready)
    runners.start(ack_wait_s=30.0)
    assert (await scheduler.completed(ready, within_s=10)).completed == 300
    await runners.served_each_once(300)


async def test_a_drain_does_not_wait_for_hanging_requests(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(["stay", *prompts(50)])
    await scheduler.release(ready)
    runner = runners.start(options={"hang_on": "stay"}, drain_s=1.0)
    await until(lambda: any(claim.completed == 50 for claim in scheduler.claims), what="progress")
    await runner.drain(within_s=8)
    assert scheduler.claims[-1].released
    assert not await scheduler.settled(ready)


async def test_a_drain_while_idle_and_a_chunk_that_comes_late(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """A fetch in flight brings a chunk after the drain began: it goes straight back."""
    runner = runners.start(ack_wait_s=30.0)
    [warm_up] = await scheduler.plan(prompts(1))
    await scheduler.release(warm_up)
    await scheduler.completed(warm_up)
    [ready] = await scheduler.plan(prompts(5))
    draining = asyncio.create_task(runner.drain())
    await asyncio.sleep(0.05)
    await scheduler.release(ready)
    await draining
    assert all(claim.chunk == warm_up.chunk for claim in scheduler.claims)
    runners.start(ack_wait_s=30.0)
    assert (await scheduler.completed(ready, within_s=10)).completed == 5


async def test_results_of_a_line_done_twice_count_once(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Two attempts ran side by side while no scheduler could say busy."""
    [ready] = await scheduler.plan(prompts(300))
    scheduler.answer = lambda _: "go"
    await scheduler.release(ready)
    runners.start(options=SLOW, flush_results=10, ack_wait_s=1.0, claim_s=0.2)
    await until(lambda: any(claim.completed >= 50 for claim in scheduler.claims), what="progress")
    # The same chunk under another message: the store was lost, say, and it was published again.
    await scheduler.bus.purge("CHUNKS", f"chunk.ready.sim.{ready.chunk}")
    [again] = [type(ready)(**{**_fields(ready), "generation": 2})]
    runners.start(flush_results=10, ack_wait_s=1.0, claim_s=0.2)
    await scheduler.release(again)
    await until(
        lambda: len({each.attempt for each in scheduler.completions}) == 2,
        within_s=30,
        what="both completions",
    )
    for completion in scheduler.completions:
        data = await scheduler.blobs.get(completion.manifest_key)
        assert b'"completed":300,"failed":0' in data


def _fields(ready) -> dict[str, object]:
    return {name: getattr(ready, name) for name in ready.__struct_fields__}


async def test_nats_restarts_in_mid_chunk(
    nats_process: NatsProcess, scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready] = await scheduler.plan(prompts(500))
    await scheduler.release(ready)
    runners.start(options=SLOW, ack_wait_s=5.0)
    await until(lambda: len(runners.served()) > 50, what="some work")
    await nats_process.stop(signal.SIGKILL)
    await asyncio.sleep(0.5)
    await nats_process.start()
    manifest = await scheduler.completed(ready, within_s=40)
    assert manifest.completed == 500
    await runners.served_each_once(500)


async def test_the_store_is_lost_in_mid_chunk(
    bus: Bus, nats_process: NatsProcess, scheduler: ScriptedScheduler, runners: Runners
) -> None:
    [ready, later] = await scheduler.plan(prompts(500), chunk_size=400)
    await scheduler.release(ready)
    runners.start(options=SLOW, ack_wait_s=5.0)
    await until(lambda: len(runners.served()) > 50, what="some work")
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    manifest = await scheduler.completed(ready, within_s=40)
    assert manifest.completed == 400
    await scheduler.release(later)
    assert (await scheduler.completed(later, within_s=20)).completed == 100
    await runners.served_each_once(500)
