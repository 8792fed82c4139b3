"""Xids as they come, from a thread that waits for them."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from batch_common.logs import get_log
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.reading import Gpu, Xid
from batch_gpu_runner.gpu.xid_events import XidEvents

log = get_log(__name__)

_WAIT_S: Final = 1.0

Tell = Callable[[Gpu, Xid], None]


class XidThread:
    """A daemon: it keeps no process from leaving, even when the driver hangs."""

    def __init__(self, nvml: Nvml, gpus: tuple[Gpu, ...], tell: Tell) -> None:
        """`tell` is called in the loop that is running now."""
        self._nvml = nvml
        self._gpus = gpus
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xid", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """It ends within a second; nothing is told any more."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            events = XidEvents(self._nvml, self._gpus)
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            # In WSL, on virtual GPUs and on some older ones: readings remain.
            log.info("xids_not_reported", why=str(error))
            return
        while not self._stopping.is_set():
            self._wait(events)
        with contextlib.suppress(Exception):
            events.close()

    def _wait(self, events: XidEvents) -> None:
        try:
            found = events.wait(_WAIT_S)
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            # A lost GPU shows in its readings; the others may still have something to report.
            log.debug("xid_wait_failed", why=str(error))
            self._stopping.wait(_WAIT_S)
            return
        for gpu, xid in found:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._hand_over, gpu, xid)

    def _hand_over(self, gpu: Gpu, xid: Xid) -> None:
        if not self._stopping.is_set():
            self._tell(gpu, xid)
