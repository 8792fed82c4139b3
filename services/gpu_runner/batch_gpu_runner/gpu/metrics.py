"""What Prometheus sees of the GPUs. `gpu` is the driver's index."""

from typing import Final

from prometheus_client import Gauge

from batch_common.metrics import Metrics
from batch_gpu_runner.gpu.nvml import THROTTLE_REASONS
from batch_gpu_runner.gpu.policy import Health, State
from batch_gpu_runner.gpu.reading import Gpu, Reading, Unreached

_RUNNER: Final = Metrics("runner")
_GPU: Final = {"gpu": "the driver's index; of a MIG device its UUID"}


def _gauge(ending: str, what: str, rise: str, **labels: str) -> Gauge:
    return _RUNNER.gauge(f"vllm_batch_gpu_{ending}", what, rise=rise, labels=_GPU | labels)


INFO: Final = _gauge(
    "info",
    "1; what the GPU is.",
    "Never does.",
    uuid="the driver's",
    name="of the product",
    driver="its version",
)
HEALTH: Final = _gauge(
    "health",
    "0 healthy, 1 degraded, 2 critical.",
    "1: the window is narrowed; 2: the runner takes no chunks and handed back what it had. The "
    "runner's log and `/readyz` say why.",
)
UTILIZATION: Final = _gauge(
    "utilization_ratio",
    "Share of the last moment in which it computed, 0 to 1.",
    "More work. Low while chunks are held: the engine is not fed, or waits for something.",
)
MEMORY_USED: Final = _gauge(
    "memory_used_bytes",
    "Memory in use, by all programs.",
    "Something beside the engine takes memory; near the total the engine dies of it.",
)
MEMORY_TOTAL: Final = _gauge("memory_total_bytes", "Memory that programs can have.", "Another GPU.")
TEMPERATURE: Final = _gauge(
    "temperature_celsius",
    "Temperature of the GPU.",
    "More work, or less cooling: fans, dust, a warm room.",
)
POWER: Final = _gauge("power_watts", "Power it draws.", "More work.")
POWER_LIMIT: Final = _gauge("power_limit_watts", "Power it may draw.", "Somebody raised it.")
SM_CLOCK: Final = _gauge(
    "sm_clock_hertz",
    "Clock of its processors.",
    "More work. A fall under work: heat, or its power limit.",
)
MEMORY_CLOCK: Final = _gauge("memory_clock_hertz", "Clock of its memory.", "More work.")
THROTTLED: Final = _gauge(
    "throttled",
    "1 while this holds its clocks down.",
    "`power_cap` is normal under full load; the others are heat or failing power.",
    reason="`power_cap`, `hw`, `sw_thermal`, `hw_thermal` or `hw_power_brake`",
)
ECC_ERRORS: Final = _gauge(
    "ecc_errors",
    "Memory errors since the driver was loaded.",
    "Its memory fails; `uncorrected` ones end the engine.",
    kind="`corrected` or `uncorrected`",
)
XIDS: Final = _RUNNER.counter(
    "vllm_batch_gpu_xid_errors_total",
    "Error reports of the driver.",
    rise="GPU.md says which are the GPU's and which an engine's.",
    labels=_GPU | {"xid": "their number"},
)

_MHZ: Final = 1_000_000


def label(gpu: Gpu) -> str:
    """Its value of `gpu`. MIG devices of one GPU share its index."""
    return gpu.uuid if gpu.is_mig else str(gpu.index)


def show_gpu(gpu: Gpu, driver: str) -> None:
    INFO.labels(label(gpu), gpu.uuid, gpu.name, driver).set(1)


def show_state(gpu: Gpu, state: State) -> None:
    HEALTH.labels(label(gpu)).set(state.health)


def show_unreached(unreached: tuple[Unreached, ...]) -> None:
    """As far as it is known which they are."""
    for each in unreached:
        if each.index is not None:
            HEALTH.labels(str(each.index)).set(Health.CRITICAL)


def show_reading(gpu: Gpu, reading: Reading) -> None:
    """What this GPU does not say has no series."""
    name = label(gpu)
    clocks = (reading.sm_clock_mhz, reading.memory_clock_mhz)
    sm_hz, memory_hz = (None if mhz is None else mhz * _MHZ for mhz in clocks)
    for gauge, value in (
        (UTILIZATION, reading.utilization),
        (MEMORY_USED, reading.memory_used_bytes),
        (MEMORY_TOTAL, reading.memory_total_bytes),
        (TEMPERATURE, reading.temperature_c),
        (POWER, reading.power_w),
        (POWER_LIMIT, reading.power_limit_w),
        (SM_CLOCK, sm_hz),
        (MEMORY_CLOCK, memory_hz),
    ):
        if value is not None:
            gauge.labels(name).set(value)
    for reason in THROTTLE_REASONS.values():
        THROTTLED.labels(name, reason).set(reason in reading.throttled_by)
    for kind, count in (
        ("corrected", reading.ecc_corrected),
        ("uncorrected", reading.ecc_uncorrected),
    ):
        if count is not None:
            ECC_ERRORS.labels(name, kind).set(count)
