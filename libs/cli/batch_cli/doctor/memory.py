"""Free GPU memory against the model, as vLLM will look at it when it starts."""

import os
from collections.abc import Mapping
from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_gpu_runner.engines.vllm import DEFAULT_SHARE
from batch_gpu_runner.gpu.library import Library, NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.reading import Gpu, Reading

CHECK: Final = "gpu memory"
GIB: Final = 1 << 30
# CUDA's context, captured graphs and activations, in sum for a small model.
_OVERHEAD: Final = 2 * GIB
# Below this share of the whole for the KV cache few requests run at a time.
_CACHE_SHARE: Final = 0.1

_UNSEEN: Final = warn(
    CHECK,
    "whether the model fits was not looked at: the engine of the `up` that runs may have the GPU",
    "end it first, or name another --data-dir",
)


def look_at_memory(
    place: Place,
    library: Library,
    weights: Mapping[str, int],
    environ: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """`weights`: bytes by model, of those that are known. Nothing where there is no GPU."""
    if place.engine != "vllm":
        return []
    if place.running:
        return [_UNSEEN] if place.asked else []
    nvml = Nvml(library, environ)
    try:
        gpus = nvml.open()
    except NvmlError:
        return []
    readings = [(gpu, nvml.read(gpu)) for gpu in gpus]
    known = [(gpu, reading) for gpu, reading in readings if isinstance(reading, Reading)]
    found = [finding for gpu, reading in known if (finding := _free(place, gpu, reading))]
    if weights and known:
        found.append(_fits(place, known[0][1], sum(weights.values())))
    return found


def _free(place: Place, gpu: Gpu, reading: Reading) -> Finding | None:
    total, used = reading.memory_total_bytes, reading.memory_used_bytes
    if not total or used is None:
        return None
    share = _option(place, "gpu_memory_utilization", DEFAULT_SHARE)
    free, wanted = total - used, share * total
    says = f"GPU {gpu.index}: {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free >= wanted:
        return ok(CHECK, says)
    return fail(
        CHECK,
        f"{says}; vLLM takes {wanted / GIB:.1f} GiB and does not start without them",
        "end what uses the GPU (nvidia-smi names it), or "
        f"-o gpu_memory_utilization={max(0.05, free / total - 0.03):.2f}",
    )


def _fits(place: Place, reading: Reading, weights: int) -> Finding:
    total = reading.memory_total_bytes or 0
    share = _option(place, "gpu_memory_utilization", DEFAULT_SHARE)
    ways = _option(place, "tensor_parallel_size", 1) * _option(place, "pipeline_parallel_size", 1)
    each = weights / ways
    cache = share * total - each - _OVERHEAD
    says = f"{each / GIB:.1f} GiB of weights on each GPU of {total / GIB:.1f} GiB"
    if cache <= 0:
        return fail(
            CHECK,
            f"{says} do not fit",
            "a smaller or quantized model, a larger GPU, or several: -o tensor_parallel_size=2",
        )
    if cache < _CACHE_SHARE * total:
        return warn(
            CHECK,
            f"{says} leave {cache / GIB:.1f} GiB for the KV cache: few requests at a time",
            "a quantized model, -o kv_cache_dtype=fp8, -o max_model_len=8192, or more GPUs",
        )
    return ok(CHECK, f"{says} leave about {cache / GIB:.1f} GiB for the KV cache")


def _option(place: Place, name: str, default: float) -> float:
    given = place.config.runner.options
    text = next((v for key, v in given.items() if key.replace("-", "_") == name), "")
    try:
        return float(text)
    except ValueError:
        return default
