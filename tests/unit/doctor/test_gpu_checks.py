"""GPU, driver and memory, on GPUs that are not there."""

from pathlib import Path

import msgspec
import pytest

from batch_cli.doctor import gpus
from batch_cli.doctor.finding import Finding
from batch_cli.doctor.gpus import look_at_gpus
from batch_cli.doctor.memory import look_at_memory
from batch_cli.doctor.place import Place
from batch_cli.doctor.vllm_packages import VllmPackages
from batch_cli.standalone.folder import DataFolder
from batch_common.config import Config, Runner
from support.fake_nvml import GIB, Card, FakeNvml

IDLE = Card(memory_total=24 * GIB, memory_used=0, memory_reserved=0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    config = Config(data_dir=str(tmp_path), runner=Runner(engine="vllm", models=("org/m",)))
    folder = DataFolder(tmp_path)
    return Place(config=config, folder=folder, standalone=True, running=False, engine="vllm")


@pytest.fixture(autouse=True)
def cuda_13(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = VllmPackages("3.12.1", "0.32.0", "2.13.0+cu130", 13)
    monkeypatch.setattr(gpus, "look_at_packages", lambda *_: packages)


def with_options(place: Place, **options: str) -> Place:
    runner = msgspec.structs.replace(place.config.runner, options=options)
    config = msgspec.structs.replace(place.config, runner=runner)
    return msgspec.structs.replace(place, config=config)


def statuses(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.status) for finding in found]


def test_a_good_gpu_and_driver(place: Place) -> None:
    found = look_at_gpus(place, FakeNvml(IDLE), {})
    assert statuses(found) == [("gpu", "ok"), ("driver", "ok")]
    assert "CUDA up to 13.0" in found[1].says


def test_a_driver_that_is_too_old_for_the_cuda_of_vllm(place: Place) -> None:
    library = FakeNvml(IDLE)
    library.driver = "550.127.05"
    finding = look_at_gpus(place, library, {})[1]
    assert (finding.check, finding.status) == ("driver", "fail")
    assert "driver 580 or newer" in finding.fix


@pytest.mark.parametrize(("engine", "status"), [("vllm", "fail"), ("llamacpp", "warn")])
def test_no_driver_matters_by_engine(place: Place, engine: str, status: str) -> None:
    found = look_at_gpus(
        msgspec.structs.replace(place, engine=engine), FakeNvml(no_driver=True), {}
    )
    assert statuses(found) == [("gpu", status)]
    assert "--gpus all" in found[0].fix


def test_a_variable_that_hides_all_gpus_is_named(place: Place) -> None:
    [finding] = look_at_gpus(place, FakeNvml(IDLE), {"CUDA_VISIBLE_DEVICES": "5"})
    assert finding.status == "fail"
    assert "CUDA_VISIBLE_DEVICES='5'" in finding.says


@pytest.mark.parametrize("engine", ["openai", "sim"])
def test_engines_without_a_gpu_need_none(place: Place, engine: str) -> None:
    library = FakeNvml(no_driver=True)
    found = look_at_gpus(msgspec.structs.replace(place, engine=engine), library, {})
    assert statuses(found) == [("gpu", "ok")]
    assert library.calls == 0


def test_a_hot_or_lost_gpu_is_found(place: Place) -> None:
    hot = Card(uuid="GPU-hot", temperature_c=95)
    warm = Card(uuid="GPU-warm", temperature_c=86)
    found = look_at_gpus(place, FakeNvml(hot, warm), {})
    assert [status for check, status in statuses(found) if check == "gpu"] == ["fail", "warn"]
    assert "95 °C" in found[0].says


@pytest.mark.parametrize(("capability", "status"), [((6, 1), "fail"), ((7, 0), "warn")])
def test_an_old_gpu_is_found(place: Place, capability: tuple[int, int], status: str) -> None:
    library = FakeNvml(Card(capability=capability))
    assert look_at_gpus(place, library, {})[-1].status == status


def test_memory_that_somebody_else_has(place: Place) -> None:
    library = FakeNvml(msgspec.structs.replace(IDLE, memory_used=8 * GIB))
    [finding] = look_at_memory(place, library, {}, {})
    assert finding.status == "fail"
    assert "16.0 of 24.0 GiB free" in finding.says
    assert "gpu_memory_utilization=0.64" in finding.fix
    asked = with_options(place, gpu_memory_utilization="0.6")
    assert look_at_memory(asked, library, {}, {})[0].status == "ok"


@pytest.mark.parametrize(
    ("weights_gib", "ways", "status"),
    [(4, "1", "ok"), (18, "1", "warn"), (26, "1", "fail"), (26, "2", "ok"), (44, "2", "fail")],
)
def test_weights_against_memory(place: Place, weights_gib: int, ways: str, status: str) -> None:
    asked = with_options(place, tensor_parallel_size=ways)
    library = FakeNvml(IDLE, msgspec.structs.replace(IDLE, uuid="GPU-2"))
    assert look_at_memory(asked, library, {"m": weights_gib * GIB}, {})[-1].status == status


def test_without_a_gpu_there_is_no_memory_to_look_at(place: Place) -> None:
    assert look_at_memory(place, FakeNvml(no_driver=True), {"m": GIB}, {}) == []
