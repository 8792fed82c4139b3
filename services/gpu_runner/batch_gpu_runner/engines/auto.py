"""Which engine this machine is made for."""

from pathlib import Path

import pynvml

from batch_common.logs import get_log
from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.llamacpp import has_llamacpp
from batch_gpu_runner.engines.settings import EngineSettings
from batch_gpu_runner.engines.vllm import has_vllm

log = get_log(__name__)


def choose_engine(settings: EngineSettings) -> str:
    """`vllm` or `llamacpp`; raises EngineOptionError when the machine has neither.

    GGUF files, and the demo model that stands in when none is named, are for llama.cpp.
    """
    for_vllm = bool(settings.models) and not all(map(_is_gguf, settings.models))
    gpus = nvidia_gpus()
    if for_vllm and gpus and has_vllm(settings.interpreter()):
        choice = "vllm"
    elif has_llamacpp():
        choice = "llamacpp"
    else:
        raise EngineOptionError(_nothing_fits(gpus))
    log.info("engine_chosen", engine=choice, nvidia_gpus=gpus)
    return choice


def nvidia_gpus() -> int:
    """How many the driver reports; 0 without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def _is_gguf(model: str) -> bool:
    return Path(model).suffix.lower() == ".gguf"


def _nothing_fits(gpus: int) -> str:
    found = f"{gpus} NVIDIA GPU(s) but no vLLM" if gpus else "no NVIDIA GPU"
    return (
        f"no engine fits this machine: {found}, and llama.cpp is not installed. "
        "With a GPU: pip install 'vllm-batch-server[vllm]' (or -o python=… for an environment "
        "that has vLLM) and --model. Without: pip install 'vllm-batch-server[llamacpp]'. "
        "For a server that already runs: --engine openai and runner.base_url"
    )
