"""GPUs that get hot, run out of memory or fail: less work, no work, work again."""

import time
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from batch_common.bus import Bus
from batch_common.config import Gpu
from batch_common.events import RunnerState
from batch_common.presence import present
from support.fake_nvml import GIB, Card, FakeNvml
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

WATCHED = Gpu(watch="always", every_s=0.05, recover_s=0.3)
SLOW = {"requests_per_s": "200"}


def prompts(count: int) -> list[str]:
    return [f"q {number}" for number in range(count)]


async def the_runner(bus: Bus) -> RunnerState:
    [state] = await present(bus)
    return state


async def until_status(bus: Bus, status: str, within_s: float = 20) -> RunnerState:
    found: list[RunnerState] = []

    async def shows() -> bool:
        found[:] = [state for state in await present(bus) if state.status == status]
        return bool(found)

    await until(shows, within_s=within_s, what=f"a runner that is {status}")
    return found[0]


def redelivered() -> float:
    """Chunks that came to runners of this process once more."""
    return REGISTRY.get_sample_value("vllm_batch_runner_redeliveries_total", {"model": "sim"}) or 0


def window() -> float | None:
    return REGISTRY.get_sample_value("vllm_batch_runner_window_requests")


async def test_a_gpu_off_the_bus_hands_back_within_five_seconds_and_another_runner_goes_on(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus
) -> None:
    """With an ack_wait of a minute only what is handed back comes to another runner in time."""
    library = FakeNvml()
    [ready, later] = await scheduler.plan(prompts(600), chunk_size=400)
    await scheduler.release(ready)
    runners.start(library, options=SLOW, gpu=WATCHED, ack_wait_s=60.0)
    await until(lambda: any(claim.completed > 20 for claim in scheduler.claims), what="some work")
    [sick] = {claim.attempt for claim in scheduler.claims}
    began = time.monotonic()
    library.report(79)
    library.cards[0].is_lost = True
    await until(
        lambda: any(claim.released and claim.attempt == sick for claim in scheduler.claims),
        within_s=5,
        what="the chunk handed back",
    )
    print(f"handed back {time.monotonic() - began:.2f} s after Xid 79")
    down = await until_status(bus, "down", within_s=5)
    assert down.reason is not None
    assert "Xid 79" in down.reason
    assert [gpu.health for gpu in down.gpus] == ["critical"]

    await scheduler.release(later)
    saved = max(claim.completed for claim in scheduler.claims if claim.attempt == sick)
    runners.start(ack_wait_s=60.0)
    for chunk in (ready, later):
        manifest = await scheduler.completed(chunk, within_s=20)
        assert manifest.failed == 0
    assert saved > 20, "what the sick runner had was saved"
    assert (await until_status(bus, "down")).runner == down.runner
    assert all(
        claim.runner != down.runner for claim in scheduler.claims if claim.chunk == later.chunk
    )


async def test_a_runner_started_beside_a_lost_gpu_takes_nothing_until_it_is_back(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart, by hand or by a supervisor, must not turn "off the bus" into good health."""
    monkeypatch.setattr("batch_gpu_runner.gpu.watch._LOOK_AGAIN_S", 0.1)
    lost = Card(uuid="GPU-b", is_lost=True)
    [ready] = await scheduler.plan(prompts(20))
    await scheduler.release(ready)
    runners.start(FakeNvml(Card(), lost), options=SLOW, gpu=WATCHED)
    down = await until_status(bus, "down")
    assert down.reason is not None
    assert "GPU 1" in down.reason
    assert [gpu.index for gpu in down.gpus] == [0]
    assert scheduler.claims == []
    lost.is_lost = False
    assert (await scheduler.completed(ready)).completed == 20


class Step(msgspec.Struct, frozen=True):
    """A piece of a trace: what the GPU said, and what the runner is then."""

    temperature_c: int
    memory_used: float
    status: str
    window: int


# Of a card whose fan fails under load, then cools down; then another program takes its memory.
TRACE = (
    Step(71, 0.90, "ready", 16),
    Step(84, 0.90, "ready", 16),
    Step(87, 0.90, "ready", 8),
    Step(93, 0.90, "down", 8),
    Step(89, 0.40, "down", 8),
    Step(82, 0.40, "ready", 8),
    Step(70, 0.90, "ready", 16),
    Step(70, 0.985, "ready", 8),
    Step(70, 0.999, "down", 8),
    Step(70, 0.93, "ready", 16),
)


async def test_pulling_stops_and_resumes_along_a_trace_of_heat_and_memory(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus
) -> None:
    card = Card(memory_total=24 * GIB, memory_reserved=0)
    runners.start(FakeNvml(card), options=SLOW, gpu=WATCHED, window=16, ack_wait_s=60.0)
    await until_status(bus, "ready")
    before = redelivered()
    chunks = await scheduler.plan(prompts(40 * len(TRACE)), chunk_size=40)
    for step, ready in zip(TRACE, chunks, strict=True):
        card.temperature_c = step.temperature_c
        card.memory_used = int(step.memory_used * 24 * GIB)
        await until_status(bus, step.status)
        await until(lambda step=step: window() == step.window, what=f"the window of {step}")
        await scheduler.release(ready)
        if step.status == "ready":
            await scheduler.completed(ready)
        else:
            assert scheduler.completion(ready) is None
    for ready in chunks:
        assert (await scheduler.completed(ready)).completed == 40
    assert (await the_runner(bus)).gpus[0].health == "healthy"
    assert redelivered() - before <= len(TRACE), "one that is down does not pull"


async def test_an_applications_xid_costs_nothing(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus
) -> None:
    library = FakeNvml()
    runners.start(library, options=SLOW, gpu=WATCHED)
    await until_status(bus, "ready")
    for xid in (13, 31, 43, 45):
        library.report(xid)

    def counted() -> bool:
        shown = {"gpu": "0", "xid": "45"}
        return bool(REGISTRY.get_sample_value("vllm_batch_gpu_xid_errors_total", shown))

    await until(counted, what="the metric")
    state = await the_runner(bus)
    assert (state.status, state.gpus[0].health) == ("ready", "healthy")


async def test_a_runner_whose_engine_uses_no_gpu_asks_no_driver(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus
) -> None:
    library = FakeNvml()
    runners.start(library, gpu=Gpu())
    state = await until_status(bus, "ready")
    assert state.gpus == ()
    assert library.calls == 0


async def test_without_a_gpu_everything_goes_its_way(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus
) -> None:
    runners.start(FakeNvml(no_driver=True), gpu=WATCHED)
    await until_status(bus, "ready")
    [ready] = await scheduler.plan(prompts(20))
    await scheduler.release(ready)
    assert (await scheduler.completed(ready)).completed == 20


@pytest.mark.slow
async def test_what_was_spared_is_spared_again_after_a_restart(
    scheduler: ScriptedScheduler,
    runners: Runners,
    bus: Bus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("batch_gpu_runner.window.REGROW_S", 0.2)
    monkeypatch.setattr("batch_gpu_runner.engine_life.FIRST_PAUSE_S", 0.05)
    folder = str(tmp_path / "kept")
    frugal = {"oom_above_tokens": "220", "ttft_ms": "50"}
    first = runners.start(options=frugal, window=16, state_dir=folder)
    [ready, later] = await scheduler.plan(prompts(120), chunk_size=60)
    await scheduler.release(ready)
    assert (await scheduler.completed(ready)).completed == 60
    record = Path(folder) / "memory.json"
    await until(record.exists, what="the record")
    await first.drain()
    deaths = REGISTRY.get_sample_value("vllm_batch_runner_engine_restarts_total") or 0
    runners.start(options=frugal, window=16, state_dir=folder)
    await until_status(bus, "ready")
    assert REGISTRY.get_sample_value("vllm_batch_runner_memory_steps") == 1
    assert (window() or 16) < 16
    await scheduler.release(later)
    assert (await scheduler.completed(later)).completed == 60
    assert REGISTRY.get_sample_value("vllm_batch_runner_engine_restarts_total") <= deaths + 1
