"""Watching: changes are told once, and a driver that hangs holds nobody up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from prometheus_client import REGISTRY

from batch_common.config import Gpu as Settings
from batch_gpu_runner.gpu import driver_call
from batch_gpu_runner.gpu.policy import Health
from batch_gpu_runner.gpu.watch import GpuWatch, Verdict
from support.fake_nvml import Card, FakeNvml
from support.wait import until

QUICK = Settings(every_s=0.02, recover_s=0.1)


@asynccontextmanager
async def watching(library: FakeNvml, settings: Settings = QUICK) -> AsyncIterator[list[Verdict]]:
    told: list[Verdict] = []
    watch = GpuWatch(settings, library, {})
    await watch.open()
    task = asyncio.create_task(watch.run(told.append))
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.done()


async def test_without_a_driver_it_says_so_once_and_is_out_of_the_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    library = FakeNvml(no_driver=True)
    watch = GpuWatch(QUICK, library, {})
    await watch.open()
    await asyncio.wait_for(watch.run(pytest.fail), timeout=5)
    assert capsys.readouterr().out.count("gpus_not_watched") == 1
    assert (watch.gpus, watch.states(), watch.verdict.health) == ((), (), Health.HEALTHY)


async def test_changes_are_told_and_every_reading_is_shown() -> None:
    card = Card()
    async with watching(FakeNvml(card)) as told:
        await until(lambda: _shown("temperature_celsius") == 50, what="the metric")
        card.temperature_c = 86
        await until(lambda: bool(told), what="the word")
        assert told[-1].health is Health.DEGRADED
        assert _shown("health") == 1
        card.temperature_c = 93
        await until(lambda: told[-1].health is Health.CRITICAL, what="the second word")
        card.temperature_c = 60
        await until(lambda: told[-1].health is Health.HEALTHY, what="the third word")
        assert len(told) == 3
    assert _shown("memory_total_bytes") == 23.5 * (1 << 30)


async def test_one_bad_gpu_of_several_is_enough() -> None:
    library = FakeNvml(Card(uuid="GPU-a"), Card(uuid="GPU-b", temperature_c=93))
    async with watching(library) as told:
        await until(lambda: bool(told), what="the word")
        assert told[0].why.startswith("GPU 1: 93 °C")


async def test_an_xid_needs_no_reading() -> None:
    library = FakeNvml()
    settings = msgspec.structs.replace(QUICK, every_s=3)
    async with watching(library, settings) as told:
        await until(lambda: library.calls > 20, what="the first reading")
        began = time.monotonic()
        library.report(79)
        await until(lambda: bool(told), what="the word")
        assert time.monotonic() - began < settings.every_s
        assert "fallen off the bus" in told[0].why


async def test_a_driver_that_hangs_makes_the_gpu_critical_and_nothing_else_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_call, "HANGS_AFTER_S", 0.2)
    library = FakeNvml()
    async with watching(library) as told:
        await until(lambda: library.calls > 50, what="some readings")
        library.hang()
        await until(lambda: bool(told), what="the word")
        assert told[0] == Verdict(Health.CRITICAL, "GPU 0: the driver does not answer")
        hung = library.calls
        await asyncio.sleep(0.5)
        assert library.calls <= hung + 1, "no call is made while one hangs"
        library.unhang()
        await until(lambda: told[-1].health is Health.HEALTHY, what="its recovery")


async def test_a_driver_that_hangs_from_the_start_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver_call, "HANGS_AFTER_S", 0.1)
    library = FakeNvml()
    library.hang()
    watch = GpuWatch(QUICK, library, {})
    await watch.open()
    assert watch.gpus == ()
    assert "does not answer" in capsys.readouterr().out
    library.unhang()


def _shown(metric: str) -> float | None:
    return REGISTRY.get_sample_value(f"vllm_batch_gpu_{metric}", {"gpu": "0"})
