"""What we rely on of NVML: the fake keeps it, and the driver's own does where there is a GPU."""

import time

import pynvml
import pytest

from batch_gpu_runner.gpu.library import Library, NvmlError, driver_library
from batch_gpu_runner.gpu.nvml import THROTTLE_REASONS, Nvml
from batch_gpu_runner.gpu.reading import Reading
from batch_gpu_runner.gpu.xid_events import XidEvents
from support.fake_nvml import Card, FakeNvml


@pytest.fixture(params=["fake", "driver"])
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "fake":
        return FakeNvml(Card())
    driver = driver_library()
    try:
        driver.nvmlInit()
    except NvmlError as error:
        pytest.skip(f"no NVIDIA driver: {error}")
    if not driver.nvmlDeviceGetCount():
        pytest.skip("no GPU")
    return driver


@pytest.fixture
def nvml(library: Library) -> Nvml:
    return Nvml(library, {})


def test_gpus_have_a_number_a_name_and_memory(nvml: Nvml) -> None:
    gpus = nvml.open()
    assert [gpu.index for gpu in gpus] == list(range(len(gpus)))
    for gpu in gpus:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.name
        assert gpu.memory_bytes > 1 << 30
        for limit in (gpu.max_operating_c, gpu.slowdown_c):
            assert limit is None or 50 < limit < 130


def test_a_uuid_and_its_beginning_name_the_gpu(nvml: Nvml, library: Library) -> None:
    uuid = nvml.open()[0].uuid
    for name in (uuid, uuid[:12]):
        [found] = Nvml(library, {"CUDA_VISIBLE_DEVICES": name}).open()
        assert found.uuid == uuid


def test_readings_are_in_our_units(nvml: Nvml) -> None:
    for gpu in nvml.open():
        reading = nvml.read(gpu)
        assert isinstance(reading, Reading)
        assert reading.memory_used_bytes is not None
        assert reading.memory_total_bytes is not None
        assert 0 <= reading.memory_used_bytes <= reading.memory_total_bytes
        assert reading.temperature_c is None or 0 < reading.temperature_c < 130
        assert reading.utilization is None or 0 <= reading.utilization <= 1
        assert reading.power_w is None or 1 < reading.power_w < 3000
        assert reading.sm_clock_mhz is None or 1 < reading.sm_clock_mhz < 10_000
        assert reading.throttled_by <= set(THROTTLE_REASONS.values())


def test_versions_and_capability_are_told(nvml: Nvml) -> None:
    [gpu, *_] = nvml.open()
    assert int(nvml.driver().split(".")[0]) > 400
    assert (11, 0) <= nvml.cuda() < (30, 0)
    assert (5, 0) <= nvml.capability(gpu) < (30, 0)


def test_waiting_for_xids_ends_without_one(nvml: Nvml) -> None:
    gpus = nvml.open()
    try:
        events = XidEvents(nvml, gpus)
    except NvmlError as error:
        assert error.value == pynvml.NVML_ERROR_NOT_SUPPORTED  # noqa: PT017 - allowed, not wanted
        return
    began = time.monotonic()
    assert events.wait(0.2) == []
    assert 0.1 < time.monotonic() - began < 5
    events.close()


def test_an_unknown_uuid_and_number_are_errors(library: Library) -> None:
    library.nvmlInit()
    with pytest.raises(NvmlError):
        library.nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-00000000000f")
    with pytest.raises(NvmlError):
        library.nvmlDeviceGetHandleByIndex(4096)
