"""The choice of an engine, on machines described by what is found on them."""

from pathlib import Path

import pytest

from batch_gpu_runner.engines import auto
from batch_gpu_runner.engines.auto import Machine, choose_engine, nvidia_gpus
from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.demo_model import demo_model
from support.fake_nvml import Card, FakeNvml

EVERYTHING = Machine(gpus=1, vllm=True, llamacpp=True)


def test_a_gpu_with_vllm_gets_vllm() -> None:
    assert choose_engine(EVERYTHING, ("org/model",)) == "vllm"


@pytest.mark.parametrize(
    "machine", [Machine(0, vllm=True, llamacpp=True), Machine(1, vllm=False, llamacpp=True)]
)
def test_without_gpu_or_without_vllm_it_is_llama_cpp(machine: Machine) -> None:
    assert choose_engine(machine, ("m.gguf",)) == "llamacpp"


def test_gguf_files_and_the_demo_model_are_for_llama_cpp() -> None:
    assert choose_engine(EVERYTHING, ("x=/m/small.GGUF",)) == "llamacpp"
    assert choose_engine(EVERYTHING, ()) == "llamacpp"


def test_a_machine_with_neither_hears_what_to_install() -> None:
    with pytest.raises(EngineOptionError, match=r"vllm-batch-server\[llamacpp\]"):
        choose_engine(Machine(0, vllm=False, llamacpp=False), ())
    with pytest.raises(EngineOptionError, match="2 NVIDIA"):
        choose_engine(Machine(2, vllm=False, llamacpp=False), ("m",))


def test_the_demo_model_is_found_without_importing_its_package() -> None:
    demo = demo_model()
    assert demo is not None
    assert demo.path.suffix == ".gguf"
    assert Path("/") in demo.path.parents
    assert demo.name == "SmolLM2-135M-Instruct"


def test_gpus_are_counted_by_the_driver() -> None:
    assert nvidia_gpus(FakeNvml(Card(), Card())) == 2
    assert nvidia_gpus(FakeNvml(no_driver=True)) == 0


def test_a_driver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "HANGS_AFTER_S", 0.1)
    library = FakeNvml()
    library.hang()
    assert nvidia_gpus(library) == 0
    library.unhang()
