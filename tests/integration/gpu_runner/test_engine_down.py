"""An engine that does not come up: its runner leaves the work to others, and says so."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from batch_common.bus import Bus
from batch_common.events import RunnerState
from batch_common.presence import present
from batch_gpu_runner import engine_life
from support.faults import order
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_life, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(engine_life, "LONGEST_PAUSE_S", 0.2)


async def with_status(bus: Bus, status: str) -> list[RunnerState]:
    return [state for state in await present(bus) if state.status == status]


async def test_chunks_go_to_another_runner_and_come_back_to_a_healed_one(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.json"
    [ready, later] = await scheduler.plan([f"q {number}" for number in range(300)], chunk_size=200)
    await scheduler.release(ready)
    # With an ack_wait this long only a chunk that was handed back comes to another.
    sick = {"fault_file": str(faults), "requests_per_s": "100"}
    runners.start(options=sick, ack_wait_s=60.0)
    await until(lambda: any(c.completed > 20 for c in scheduler.claims), what="some work")
    order(faults, "die")
    await until(lambda: REGISTRY.get_sample_value("vllm_batch_runner_engine_up") == 0, what="death")
    order(faults, "no_start")

    async def is_down() -> bool:
        return bool(await with_status(bus, "down"))

    await until(is_down, what="the runner's word")
    [down] = await with_status(bus, "down")
    assert down.reason is not None
    assert "left to others" in down.reason
    released = [claim for claim in scheduler.claims if claim.released]
    await until(lambda: any(claim.released for claim in scheduler.claims), what="the release")
    healthy = runners.start(ack_wait_s=60.0)
    assert (await scheduler.completed(ready, within_s=15)).completed == 200
    saved = max(
        claim.completed for claim in scheduler.claims if claim in released or claim.released
    )
    assert saved > 20, "what the sick runner had was saved"

    await healthy.drain()
    order(faults, "none")

    async def is_back() -> bool:
        return [s.runner for s in await with_status(bus, "ready")] == [down.runner]

    await until(is_back, what="the healed runner")
    await scheduler.release(later)
    assert (await scheduler.completed(later)).completed == 100
    [back] = await with_status(bus, "ready")
    assert back.reason is None


async def test_an_engine_that_dies_of_any_request_convicts_none(
    scheduler: ScriptedScheduler, runners: Runners, bus: Bus, tmp_path: Path
) -> None:
    """A broken GPU: the engine starts and is healthy until the first request."""
    faults = tmp_path / "faults.json"
    order(faults, "die")
    [ready] = await scheduler.plan(["only me"])
    await scheduler.release(ready)
    runners.start(options={"fault_file": str(faults)}, ack_wait_s=60.0)

    async def is_down() -> bool:
        return bool(await with_status(bus, "down"))

    await until(is_down, what="the runner's word")
    runners.start(ack_wait_s=60.0)
    manifest = await scheduler.completed(ready, within_s=15)
    assert (manifest.completed, manifest.failed) == (1, 0)


async def test_one_that_never_starts_is_told_of_after_its_end(runners: Runners, bus: Bus) -> None:
    runner = runners.start(engine="openai", base_url="http://127.0.0.1:9/v1", options=None)
    await runner.failure()
    [down] = await with_status(bus, "down")
    assert down.reason is not None
    assert "cannot be started" in down.reason
