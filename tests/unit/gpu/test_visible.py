"""CUDA_VISIBLE_DEVICES as CUDA reads it."""

import pytest

from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.visible import named_devices
from support.fake_nvml import Card, FakeNvml

A, B = "GPU-aaaa0000-1", "GPU-bbbb0000-2"
MIG = "MIG-cccc0000-3"


def library() -> FakeNvml:
    mig = Card(uuid=MIG, name="Fake MIG 1g.10gb", whole=B, instance=7, memory_total=10 << 30)
    return FakeNvml(Card(uuid=A), Card(uuid=B), migs=(mig,))


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (None, None),
        ("", ()),
        ("0", ("0",)),
        ("1, 0", ("1", "0")),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("GPU-1,MIG-2", ("GPU-1", "MIG-2")),
        ("none", ()),
    ],
)
def test_entries_end_at_the_first_that_names_nothing(
    text: str | None, entries: tuple[str, ...] | None
) -> None:
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    assert named_devices(environ) == entries


@pytest.mark.parametrize(
    ("text", "uuids"),
    [
        (None, [A, B]),
        ("1", [B]),
        ("1,0", [B, A]),
        ("7", []),
        ("0,7,1", [A]),
        ("GPU-bbbb", [B]),
        ("GPU-", []),
        ("GPU-dddd", []),
        (MIG, [MIG]),
        ("MIG-none", []),
        ("", []),
    ],
)
def test_the_runner_watches_what_its_engine_uses(text: str | None, uuids: list[str]) -> None:
    environ = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    assert [gpu.uuid for gpu in Nvml(library(), environ).open()] == uuids


def test_a_mig_device_has_its_own_memory_and_its_gpus_number() -> None:
    nvml = Nvml(library(), {"CUDA_VISIBLE_DEVICES": MIG})
    [gpu] = nvml.open()
    assert (gpu.is_mig, gpu.index, nvml.instance(gpu)) == (True, 1, 7)
    assert gpu.memory_bytes < 10 << 30 < 24 << 30
    reading = nvml.read(gpu)
    assert reading.temperature_c == 50
    assert reading.utilization is None


def test_unlike_gpus_named_by_number_are_worth_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unlike = FakeNvml(Card(uuid=A, name="slow"), Card(uuid=B, name="fast"))
    Nvml(unlike, {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}).open()
    assert "gpu_order_unsure" not in capsys.readouterr().out
    Nvml(unlike, {"CUDA_VISIBLE_DEVICES": "0"}).open()
    assert "gpu_order_unsure" in capsys.readouterr().out
