"""Waiting for the driver's error reports. Everything here blocks."""

from typing import Any, Final

import pynvml

from batch_gpu_runner.gpu.library import NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.reading import Gpu, Xid

# An event of a whole GPU, as NVML marks it.
_WHOLE: Final = 0xFFFFFFFF


class XidEvents:
    """The Xids of these GPUs, from now on."""

    def __init__(self, nvml: Nvml, gpus: tuple[Gpu, ...]) -> None:
        """Raises NvmlError, or what else the library raises, where no GPU has any events."""
        self._library = nvml.library
        self._events = self._library.nvmlEventSetCreate()
        # GPU, the UUID of the whole GPU it is or lies in, and its instance there.
        self._ours: list[tuple[Gpu, str, int | None]] = []
        failure: Exception | None = None
        for gpu in gpus:
            try:
                self._register(nvml, gpu)
            except Exception as error:  # noqa: BLE001 - a library may raise anything
                failure = error
        if failure is not None and not self._ours:
            self.close()
            raise failure

    def wait(self, within_s: float) -> list[tuple[Gpu, Xid]]:
        """The next one, for each GPU it concerns; empty when none came."""
        try:
            event = self._library.nvmlEventSetWait_v2(self._events, int(within_s * 1000))
        except NvmlError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return []
            raise
        if event.eventType != pynvml.nvmlEventTypeXidCriticalError:
            return []
        return [(gpu, Xid(int(event.eventData))) for gpu in self._concerned(event)]

    def close(self) -> None:
        self._library.nvmlEventSetFree(self._events)

    def _register(self, nvml: Nvml, gpu: Gpu) -> None:
        whole = nvml.whole_gpu(gpu)
        ours = (gpu, self._uuid(whole), nvml.instance(gpu))
        wanted = pynvml.nvmlEventTypeXidCriticalError
        supported = self._library.nvmlDeviceGetSupportedEventTypes(whole)
        self._library.nvmlDeviceRegisterEvents(whole, wanted & supported, self._events)
        self._ours.append(ours)

    def _concerned(self, event: Any) -> list[Gpu]:
        """A GPU that fell off the bus may have no name any more: then it may be any of ours."""
        try:
            uuid = self._uuid(event.device)
        except Exception:  # noqa: BLE001 - a library may raise anything
            return [gpu for gpu, _, _ in self._ours]
        at = event.gpuInstanceId
        return [
            gpu
            for gpu, whole, instance in self._ours
            if whole == uuid and (instance is None or at in (instance, _WHOLE))
        ]

    def _uuid(self, handle: Any) -> str:
        return self._library.nvmlDeviceGetUUID(handle)
