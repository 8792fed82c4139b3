"""Readings of GPUs that lack something, fail, or report errors."""

import pynvml
import pytest

from batch_gpu_runner.gpu.library import NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.reading import Lost, Reading, Xid
from batch_gpu_runner.gpu.xid_events import XidEvents
from support.fake_nvml import GIB, Card, FakeNvml


def test_memory_is_counted_without_the_drivers_own_share() -> None:
    nvml = Nvml(FakeNvml(Card(memory_total=24 * GIB, memory_used=23 * GIB)), {})
    [gpu] = nvml.open()
    reading = nvml.read(gpu)
    assert isinstance(reading, Reading)
    assert reading.memory_share == pytest.approx(23 / 23.5)


def test_a_gpu_that_says_little_is_read_all_the_same() -> None:
    bare = Card(
        temperature_c=None, max_operating_c=None, slowdown_c=None, utilization=None, power_w=None,
        power_limit_w=None, sm_clock_mhz=None, memory_clock_mhz=None, throttle=None,
        ecc_corrected=None, ecc_uncorrected=None, rows=None, memory_total=None,
    )  # fmt: skip
    nvml = Nvml(FakeNvml(bare), {})
    [gpu] = nvml.open()
    assert nvml.read(gpu) == Reading()


def test_newer_gpus_say_how_far_they_are_from_their_limit() -> None:
    card = Card(max_operating_c=None, slowdown_c=None, temperature_c=40, margin_c=47)
    [gpu] = Nvml(FakeNvml(card), {}).open()
    assert (gpu.max_operating_c, gpu.slowdown_c) == (87, None)


def test_a_lost_gpu_is_lost() -> None:
    library = FakeNvml(Card())
    nvml = Nvml(library, {})
    [gpu] = nvml.open()
    library.cards[0].is_lost = True
    lost = nvml.read(gpu)
    assert isinstance(lost, Lost)
    assert "GPU is lost" in lost.why


def test_throttling_has_names() -> None:
    nvml = Nvml(FakeNvml(Card(throttle=0x04 | 0x40 | 0x01)), {})
    [gpu] = nvml.open()
    reading = nvml.read(gpu)
    assert isinstance(reading, Reading)
    assert reading.throttled_by == {"power_cap", "hw_thermal"}


def test_an_xid_is_that_of_its_gpu() -> None:
    library = FakeNvml(Card(uuid="GPU-a"), Card(uuid="GPU-b"))
    nvml = Nvml(library, {})
    events = XidEvents(nvml, nvml.open())
    library.report(79, card=1)
    [(gpu, xid)] = events.wait(1)
    assert (gpu.uuid, xid) == ("GPU-b", Xid(79))


def test_a_gpu_that_has_no_name_any_more_may_be_any() -> None:
    """Off the bus, the driver cannot say which it was."""
    library = FakeNvml(Card(uuid="GPU-a"), Card(uuid="GPU-b"))
    nvml = Nvml(library, {})
    events = XidEvents(nvml, nvml.open())
    library.cards[1].is_lost = True
    library.report(79, card=1)
    assert {gpu.uuid for gpu, _ in events.wait(1)} == {"GPU-a", "GPU-b"}


@pytest.mark.parametrize(("instance", "heard"), [(7, True), (0xFFFFFFFF, True), (3, False)])
def test_a_mig_device_hears_its_own_instance_and_the_whole_gpu(instance: int, heard: bool) -> None:
    mig = Card(uuid="MIG-a", whole="GPU-a", instance=7)
    library = FakeNvml(Card(uuid="GPU-a"), migs=(mig,))
    nvml = Nvml(library, {"CUDA_VISIBLE_DEVICES": "MIG-a"})
    events = XidEvents(nvml, nvml.open())
    library.report(31, instance=instance)
    assert bool(events.wait(0.2)) is heard


def test_gpus_without_events_say_so() -> None:
    nvml = Nvml(FakeNvml(Card(has_events=False)), {})
    with pytest.raises(NvmlError) as caught:
        XidEvents(nvml, nvml.open())
    assert caught.value.value == pynvml.NVML_ERROR_NOT_SUPPORTED
