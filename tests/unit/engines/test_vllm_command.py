"""What vLLM is started with. Its interpreter is a stand-in: no vLLM is needed."""

import sys
from pathlib import Path

import pytest

from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.managed import engine_environment
from batch_gpu_runner.engines.settings import EngineSettings, ModelSpec
from batch_gpu_runner.engines.vllm import has_vllm, vllm_arguments, vllm_engine, vllm_window


def test_options_become_arguments() -> None:
    options = {
        "tensor_parallel_size": "2",
        "enforce-eager": "true",
        "enable_prefix_caching": "false",
        "speculative_config.draft_model": "a_b",
        "dtype": "bfloat16",
        "python": "/usr/bin/python3",
    }
    assert vllm_arguments(options) == (
        "--tensor-parallel-size=2",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--speculative-config.draft_model=a_b",
        "--dtype=bfloat16",
    )


def test_a_value_cannot_become_another_argument() -> None:
    assert vllm_arguments({"dtype": "half --port 1"}) == ("--dtype=half --port 1",)


@pytest.mark.parametrize("key", ["port", "uds", "api_key", "served_model_name", "ssl_keyfile"])
def test_what_we_set_ourselves_is_refused(key: str) -> None:
    with pytest.raises(EngineOptionError, match="set by us"):
        vllm_arguments({key: "1"})


def test_the_window_follows_the_sequences_vllm_computes_at_once() -> None:
    assert vllm_window({}) == 320
    assert vllm_window({"max_num_seqs": "64"}) == 80
    assert vllm_window({"max-num-seqs": "1"}) == 1


def test_an_interpreter_without_vllm_is_refused_with_what_to_install(tmp_path: Path) -> None:
    settings = EngineSettings(engine="vllm", state_dir=tmp_path, python="/bin/false")
    with pytest.raises(EngineOptionError, match=r"vllm-batch-server\[vllm\]"):
        vllm_engine(settings, ModelSpec("m", "org/m"))


def test_an_interpreter_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineOptionError, match="cannot run"):
        has_vllm("/nowhere/python")


def test_an_interpreter_is_asked_without_importing_vllm(tmp_path: Path) -> None:
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    assert has_vllm(str(wrapper))


def test_our_own_settings_do_not_reach_an_engine() -> None:
    environment = {"HF_TOKEN": "t", "VLLM_BATCH_NATS__PASSWORD": "p", "VLLM_USE_V1": "1"}
    assert engine_environment(environment) == {"HF_TOKEN": "t", "VLLM_USE_V1": "1"}
