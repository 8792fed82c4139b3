"""Watching: changes are told once, and a driver that hangs holds nobody up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pynvml
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


async def test_a_driver_that_hangs_from_the_start_is_critical_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_call, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr("batch_gpu_runner.gpu.watch._LOOK_AGAIN_S", 0.05)
    library = FakeNvml()
    library.hang()
    async with watching(library) as told:
        await until(lambda: bool(told), what="the word")
        assert told[0] == Verdict(Health.CRITICAL, "the driver does not answer")
        library.unhang()
        await until(lambda: told[-1].health is Health.HEALTHY, what="its recovery")
        assert _shown("temperature_celsius") == 50


async def test_a_gpu_lost_at_the_start_is_critical_and_the_one_beside_it_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runner was started again after a GPU fell off the bus: nothing is well by that."""
    monkeypatch.setattr("batch_gpu_runner.gpu.watch._LOOK_AGAIN_S", 0.05)
    lost = Card(uuid="GPU-b", is_lost=True)
    library = FakeNvml(Card(uuid="GPU-a", temperature_c=61), lost)
    async with watching(library) as told:
        await until(lambda: _shown("temperature_celsius") == 61, what="the healthy one's reading")
        [verdict] = told
        assert verdict.health is Health.CRITICAL
        assert verdict.why == "GPU 1: the driver cannot reach it (GPU is lost)"
        assert REGISTRY.get_sample_value("vllm_batch_gpu_health", {"gpu": "1"}) == 2
        looked = library.inits, library.calls
        await until(lambda: library.calls > looked[1] + 100, what="more looks")
        assert library.inits == looked[0], "a look leaves nothing open"
        lost.is_lost = False
        await until(lambda: told[-1].health is Health.HEALTHY, what="its recovery")
        library.report(79, card=1)
        await until(lambda: "fallen off" in told[-1].why, what="an Xid of the one that came late")
    assert capsys.readouterr().out.count("gpus_unreached") == 1


@pytest.mark.parametrize("cause", [
    pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN), OSError("input/output error"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
])  # fmt: skip
async def test_whatever_a_call_raises_the_watch_goes_on(
    monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    """Also an error that is not NVML's own, at the start and later."""
    monkeypatch.setattr("batch_gpu_runner.gpu.watch._LOOK_AGAIN_S", 0.05)
    library = FakeNvml()
    library.failure = cause
    async with watching(library) as told:
        for number in (1, 3):
            await until(lambda number=number: len(told) == number, what="the word")
            assert told[-1].health is Health.CRITICAL
            assert str(cause) in told[-1].why
            library.failure = None
            await until(lambda: told[-1].health is Health.HEALTHY, what="its recovery")
            library.failure = cause


async def test_a_library_that_does_not_begin_is_critical_and_no_gpus_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The kernel has another driver than the library, after an update; and a machine without."""
    library = FakeNvml()
    library.no_begin = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    watch = GpuWatch(QUICK, library, {})
    await watch.open()
    assert watch.verdict.health is Health.CRITICAL
    assert "mismatch" in watch.verdict.why
    library.no_begin = None
    library.cards.clear()
    none = GpuWatch(QUICK, library, {})
    await none.open()
    await asyncio.wait_for(none.run(pytest.fail), timeout=5)
    assert "this process sees none" in capsys.readouterr().out


async def test_a_uuid_that_a_lost_gpu_may_have_is_looked_for() -> None:
    library = FakeNvml(Card(uuid="GPU-a"), Card(uuid="GPU-b", is_lost=True))
    verdicts = {}
    for uuid in ("GPU-a", "GPU-b"):
        watch = GpuWatch(QUICK, library, {"CUDA_VISIBLE_DEVICES": uuid})
        await watch.open()
        verdicts[uuid] = watch.verdict.health
    assert verdicts == {"GPU-a": Health.HEALTHY, "GPU-b": Health.CRITICAL}


def _shown(metric: str) -> float | None:
    return REGISTRY.get_sample_value(f"vllm_batch_gpu_{metric}", {"gpu": "0"})
