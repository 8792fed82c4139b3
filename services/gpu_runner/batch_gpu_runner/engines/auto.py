"""Which engine this machine is made for."""

import threading
from pathlib import Path

import msgspec

from batch_common.logs import get_log
from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.llamacpp import has_llamacpp
from batch_gpu_runner.engines.vllm import has_vllm
from batch_gpu_runner.gpu.driver_call import HANGS_AFTER_S
from batch_gpu_runner.gpu.library import Library, NvmlError, driver_library

log = get_log(__name__)


class Machine(msgspec.Struct, frozen=True):
    """What was found: NVIDIA GPUs by the driver's count, vLLM in the interpreter that is to run it,
    llama.cpp in ours.
    """

    gpus: int
    vllm: bool
    llamacpp: bool


def look_at_machine(interpreter: str) -> Machine:
    """`interpreter` is asked for vLLM only where there is a GPU."""
    gpus = nvidia_gpus()
    return Machine(gpus, vllm=bool(gpus) and has_vllm(interpreter), llamacpp=has_llamacpp())


def choose_engine(machine: Machine, models: tuple[str, ...]) -> str:
    """`vllm` or `llamacpp`; raises EngineOptionError when the machine has neither.

    GGUF files, and the demo model that stands in when none is named, are for llama.cpp.
    """
    for_vllm = bool(models) and not all(map(_is_gguf, models))
    if for_vllm and machine.gpus and machine.vllm:
        choice = "vllm"
    elif machine.llamacpp:
        choice = "llamacpp"
    else:
        raise EngineOptionError(_nothing_fits(machine.gpus))
    log.info("engine_chosen", engine=choice, nvidia_gpus=machine.gpus, vllm=machine.vllm)
    return choice


def nvidia_gpus(library: Library | None = None) -> int:
    """How many the driver reports; 0 without a driver, or with one that does not answer.

    `library`: None for the driver's.
    """
    found: list[int] = []
    asking = threading.Thread(
        target=lambda: found.append(_count(library or driver_library())), name="nvml", daemon=True
    )
    asking.start()
    asking.join(HANGS_AFTER_S)
    if not found:
        log.warning("driver_silent", within_s=HANGS_AFTER_S, taken_as="no GPU")
    return found[0] if found else 0


def _count(library: Library) -> int:
    try:
        library.nvmlInit()
    except NvmlError:
        return 0
    try:
        return library.nvmlDeviceGetCount()
    except NvmlError:
        return 0
    finally:
        library.nvmlShutdown()


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
