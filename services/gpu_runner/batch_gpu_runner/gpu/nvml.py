"""Asking the driver. Everything here blocks, for as long as the driver does."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pynvml

from batch_common.logs import get_log
from batch_gpu_runner.gpu.library import Library, NvmlError
from batch_gpu_runner.gpu.reading import Found, Gpu, Lost, Reading, Unreached
from batch_gpu_runner.gpu.visible import by_prefix, is_in_driver_order, named_devices

log = get_log(__name__)

THROTTLE_REASONS: Final = {
    0x04: "power_cap",
    0x08: "hw",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
}
# The GPU, or the driver with it, is gone; any other error of an optional figure only means that
# this GPU does not have it.
_GONE: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_IRQ_ISSUE,
    }
)
_UNAVAILABLE: Final = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
    }
)


Failed = Callable[[int | None, Exception], None]


class Nvml:
    """One use of the library, from `open` to `close`."""

    def __init__(self, library: Library, environ: Mapping[str, str]) -> None:
        self.library = library
        self._environ = environ
        # By UUID: the device's own handle, and that of the whole GPU, which differs for MIG.
        self._handles: dict[str, tuple[Any, Any]] = {}
        self._is_open = False

    def open(self) -> tuple[Gpu, ...]:
        """The GPUs this process uses. Raises NvmlError where there is no driver, or for the first
        GPU that cannot be reached.
        """
        self._init()
        return tuple(self._known(handle) for _, handle in self._used(_raise))

    def look(self) -> Found:
        """The same, each GPU for itself: one that is lost hides no other. May be called again.

        Raises NvmlError, or what else the library raises, where nothing is known of any.
        """
        self._init()
        unreached: list[Unreached] = []
        gpus: list[Gpu] = []

        def failed(index: int | None, error: Exception) -> None:
            unreached.append(Unreached(index, _why(error)))

        try:
            for index, handle in self._used(failed):
                try:
                    gpus.append(self._known(handle))
                except Exception as error:  # noqa: BLE001 - a library may raise anything
                    failed(index, error)
        finally:
            if not gpus:  # the next look begins anew: what has changed since is seen only so
                with contextlib.suppress(Exception):
                    self.close()
        return Found(gpus=tuple(gpus), unreached=tuple(unreached), driver=self._driver(gpus))

    def close(self) -> None:
        self._is_open = False
        self.library.nvmlShutdown()

    def driver(self) -> str:
        """The driver's version, as 580.65.06."""
        return str(self.library.nvmlSystemGetDriverVersion())

    def cuda(self) -> tuple[int, int]:
        """The newest CUDA that the driver runs: (13, 0)."""
        number = self.library.nvmlSystemGetCudaDriverVersion_v2()
        return number // 1000, number % 1000 // 10

    def capability(self, gpu: Gpu) -> tuple[int, int]:
        """CUDA's compute capability: (9, 0) for an H100."""
        _, whole = self._handles[gpu.uuid]
        return self.library.nvmlDeviceGetCudaComputeCapability(whole)

    def read(self, gpu: Gpu) -> Reading | Lost:
        """How it stands now."""
        own, whole = self._handles[gpu.uuid]
        try:
            return self._read(own, whole, gpu)
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            return Lost(_why(error))

    def whole_gpu(self, gpu: Gpu) -> Any:
        """The handle that Xids are reported for."""
        return self._handles[gpu.uuid][1]

    def instance(self, gpu: Gpu) -> int | None:
        """The GPU instance a MIG device lies in; None for a whole GPU."""
        own, _ = self._handles[gpu.uuid]
        return self.library.nvmlDeviceGetGpuInstanceId(own) if gpu.is_mig else None

    def _init(self) -> None:
        if not self._is_open:
            self.library.nvmlInit()
            self._is_open = True

    def _driver(self, gpus: list[Gpu]) -> str:
        try:
            return self.driver() if gpus else ""
        except Exception:  # noqa: BLE001 - it is only shown
            return ""

    def _used(self, failed: Failed) -> Iterator[tuple[int | None, Any]]:
        """Index, where it is known, and handle of each; `failed` hears of the others."""
        count = self.library.nvmlDeviceGetCount()
        named = named_devices(self._environ)
        for entry in map(str, range(count)) if named is None else named:
            index = int(entry) if entry.isdecimal() else None
            try:
                handle = self._named(entry, count)
            except Exception as error:  # noqa: BLE001 - a library may raise anything
                failed(index, error)
                continue
            if handle is None:  # CUDA stops here as well
                break
            yield index, handle
        if named is not None:
            self._warn_of_order(named, count)

    def _named(self, entry: str, count: int) -> Any | None:
        library = self.library
        if entry.isdecimal():
            return library.nvmlDeviceGetHandleByIndex(int(entry)) if int(entry) < count else None
        if entry.startswith("MIG-"):
            return self._mig(entry)
        return self._with_uuid(entry, count)

    def _mig(self, uuid: str) -> Any | None:
        try:
            return self.library.nvmlDeviceGetHandleByUUID(uuid)
        except NvmlError as error:
            if error.value in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT):
                return None
            raise

    def _with_uuid(self, entry: str, count: int) -> Any | None:
        """Where none begins so, one that cannot be reached may be it: its error is raised."""
        library = self.library
        known: list[tuple[str, Any]] = []
        lost: Exception | None = None
        for index in range(count):
            try:
                handle = library.nvmlDeviceGetHandleByIndex(index)
                known.append((library.nvmlDeviceGetUUID(handle), handle))
            except Exception as error:  # noqa: BLE001 - a library may raise anything
                lost = error
        at = by_prefix([uuid for uuid, _ in known], entry)
        if at is None and lost is not None:
            raise lost
        return None if at is None else known[at][1]

    def _warn_of_order(self, named: tuple[str, ...], count: int) -> None:
        """With unlike GPUs, CUDA's number 0 may be another than the driver's."""
        if is_in_driver_order(self._environ) or not any(entry.isdecimal() for entry in named):
            return
        library = self.library
        try:
            handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            names = {library.nvmlDeviceGetName(handle) for handle in handles}
        except Exception:  # noqa: BLE001 - one that is lost has worse to say than this
            return
        if len(names) > 1:
            log.warning("gpu_order_unsure", do="set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name UUIDs")

    def _known(self, handle: Any) -> Gpu:
        library = self.library
        uuid = library.nvmlDeviceGetUUID(handle)
        is_mig = uuid.startswith("MIG-")
        whole = library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if is_mig else handle
        self._handles[uuid] = (handle, whole)
        max_operating_c, slowdown_c = self._limits(whole)
        return Gpu(
            index=library.nvmlDeviceGetIndex(whole),
            uuid=uuid,
            name=library.nvmlDeviceGetName(handle),
            memory_bytes=(_or_none(self._memory, handle) or (0, 0))[1],
            is_mig=is_mig,
            max_operating_c=max_operating_c,
            slowdown_c=slowdown_c,
        )

    def _limits(self, whole: Any) -> tuple[int | None, int | None]:
        """Newer GPUs only say how far they are from their highest operating temperature."""
        limit = self.library.nvmlDeviceGetTemperatureThreshold
        operating = _or_none(limit, whole, pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX)
        slowdown = _or_none(limit, whole, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
        if not operating and not slowdown:
            left = _or_none(self.library.nvmlDeviceGetMarginTemperature, whole)
            now = _or_none(
                self.library.nvmlDeviceGetTemperature, whole, pynvml.NVML_TEMPERATURE_GPU
            )
            operating = None if left is None or now is None else now + left
        return operating or None, slowdown or None

    def _read(self, own: Any, whole: Any, gpu: Gpu) -> Reading:
        library = self.library
        memory = _unless_unavailable(self._memory, own)
        busy = None if gpu.is_mig else _or_none(library.nvmlDeviceGetUtilizationRates, whole)
        power_mw = _or_none(library.nvmlDeviceGetPowerUsage, whole)
        limit_mw = _or_none(library.nvmlDeviceGetEnforcedPowerLimit, whole)
        rows = _or_none(library.nvmlDeviceGetRemappedRows, whole)
        clock, errors = library.nvmlDeviceGetClockInfo, library.nvmlDeviceGetTotalEccErrors
        since = pynvml.NVML_VOLATILE_ECC
        return Reading(
            utilization=None if busy is None else busy.gpu / 100,
            memory_used_bytes=memory and memory[0],
            memory_total_bytes=memory and memory[1],
            temperature_c=_or_none(
                library.nvmlDeviceGetTemperature, whole, pynvml.NVML_TEMPERATURE_GPU
            ),
            power_w=None if power_mw is None else power_mw / 1000,
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
            sm_clock_mhz=_or_none(clock, whole, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=_or_none(clock, whole, pynvml.NVML_CLOCK_MEM),
            throttled_by=self._throttled_by(whole),
            ecc_corrected=_or_none(errors, whole, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, since),
            ecc_uncorrected=_or_none(
                errors, whole, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, since
            ),
            rows_pending=bool(rows and rows[2]),
            rows_failed=bool(rows and rows[3]),
        )

    def _memory(self, handle: Any) -> tuple[int, int]:
        """(used, all that programs can have). Version 1 counts the driver's own share as used."""
        info = _or_none(self.library.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
        if info is not None:
            return int(info.used), int(info.total - info.reserved)
        info = self.library.nvmlDeviceGetMemoryInfo(handle)
        return int(info.used), int(info.total)

    def _throttled_by(self, whole: Any) -> frozenset[str]:
        bits = _or_none(self.library.nvmlDeviceGetCurrentClocksThrottleReasons, whole) or 0
        return frozenset(name for bit, name in THROTTLE_REASONS.items() if bits & bit)


def _raise(_: int | None, error: Exception) -> None:
    raise error


def _why(error: Exception) -> str:
    return f"the driver cannot reach it ({error})"


def _or_none(call: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns; None where this GPU or driver has no such figure. Raises when it is gone."""
    try:
        return call(*arguments)
    except NvmlError as error:
        if error.value in _GONE:
            raise
        return None


def _unless_unavailable(call: Callable[..., Any], *arguments: Any) -> Any:
    """Of the figure that every GPU has but those that share the machine's memory: any other error
    means that the GPU cannot be reached.
    """
    try:
        return call(*arguments)
    except NvmlError as error:
        if error.value in _UNAVAILABLE:
            return None
        raise
