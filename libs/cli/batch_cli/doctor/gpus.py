"""GPUs, their driver, and whether it runs the CUDA that the engine was built for."""

import os
from collections.abc import Mapping
from typing import Final

import pynvml

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_cli.doctor.vllm_packages import VllmPackages, look_at_packages
from batch_gpu_runner.gpu.library import Library, NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.policy import Health, State, judge, policy_of
from batch_gpu_runner.gpu.reading import Gpu
from batch_gpu_runner.gpu.visible import VARIABLE

CHECK: Final = "gpu"
GIB: Final = 1 << 30
# The oldest driver of each major release of CUDA (docs.nvidia.com/deploy/cuda-compatibility).
OLDEST_DRIVER: Final = {11: 450, 12: 525, 13: 580}
# vLLM: 7.0 and newer up to release 0.14, 7.5 since.
_OLDEST_CAPABILITY: Final = (7, 0)
_CAPABILITY: Final = (7, 5)
_FIXES: Final[Mapping[int, str]] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "install NVIDIA's driver; in a container, start it with "
    "--gpus all and the NVIDIA container toolkit",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "load the driver (modprobe nvidia), or boot again after "
    "installing it",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated under a running system: "
    "boot again",
    pynvml.NVML_ERROR_NO_PERMISSION: "let this user read and write /dev/nvidia* (often the group "
    "video or render)",
}


def look_at_gpus(
    place: Place, library: Library, environ: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Blocks for as long as the driver does."""
    if place.engine in ("openai", "sim"):
        return [ok(CHECK, f"engine {place.engine} needs none here")]
    nvml = Nvml(library, environ)
    try:
        gpus = nvml.open()
    except NvmlError as error:
        fix = _FIXES.get(error.value, "see what nvidia-smi says")
        return [_none(place, f"no NVIDIA driver answers ({error})", fix)]
    if not gpus:
        return [_none(place, *_hidden(environ))]
    found = [_one(nvml, gpu, place) for gpu in gpus]
    return [*found, *_driver(nvml, gpus, place)]


def _none(place: Place, says: str, fix: str) -> Finding:
    if place.engine == "vllm":
        return fail(CHECK, f"{says}, and engine vllm needs a GPU", fix)
    return warn(CHECK, f"{says}; models run on the processor, with llama.cpp", fix)


def _hidden(environ: Mapping[str, str]) -> tuple[str, str]:
    if VARIABLE in environ:
        says = f"{VARIABLE}={environ[VARIABLE]!r} shows this process no GPU"
        return says, f"unset {VARIABLE}, or name GPUs that are there (nvidia-smi -L lists them)"
    return "the driver finds no GPU", "see whether lspci lists the card, and dmesg names it"


def _one(nvml: Nvml, gpu: Gpu, place: Place) -> Finding:
    name = f"GPU {gpu.index}: {gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB"
    state = judge(State(), nvml.read(gpu), 0.0, policy_of(place.config.runner.gpu, gpu))
    match state.health:
        case Health.CRITICAL:
            return fail(CHECK, f"{name} is critical: {state.why}", "docs/GPU.md says what helps")
        case Health.DEGRADED:
            return warn(CHECK, f"{name} is degraded: {state.why}", "docs/GPU.md says what helps")
    return ok(CHECK, name)


def _driver(nvml: Nvml, gpus: tuple[Gpu, ...], place: Place) -> list[Finding]:
    version = nvml.driver()
    cuda = ".".join(map(str, nvml.cuda()))
    says = f"driver {version}, which runs CUDA up to {cuda}"
    if place.engine != "vllm":
        return [ok("driver", says)]
    packages = look_at_packages(place.engine_settings.interpreter())
    found = [_fits(version, says, packages)]
    old = [gpu for gpu in gpus if nvml.capability(gpu) < _CAPABILITY]
    return found + [_too_old(gpu, nvml.capability(gpu)) for gpu in old]


def _fits(version: str, says: str, packages: VllmPackages | None) -> Finding:
    major = packages.cuda_major if packages else None
    if major is None:
        return ok("driver", says)
    needed = OLDEST_DRIVER.get(major)
    if needed is None or int(version.split(".", maxsplit=1)[0]) >= needed:
        return ok("driver", f"{says}; vLLM here is built for CUDA {major}")
    return fail(
        "driver",
        f"driver {version} is too old for CUDA {major}, which vLLM here is built for",
        f"install driver {needed} or newer, or a vLLM that is built for an older CUDA",
    )


def _too_old(gpu: Gpu, capability: tuple[int, int]) -> Finding:
    number = ".".join(map(str, capability))
    says = f"GPU {gpu.index}: {gpu.name} has compute capability {number}"
    if capability < _OLDEST_CAPABILITY:
        return fail(CHECK, f"{says}; vLLM needs 7.0", "use --engine llamacpp, or another GPU")
    return warn(
        CHECK, f"{says}; vLLM from release 0.15 on needs 7.5", "keep to an older vLLM on this GPU"
    )
