"""Watching the GPUs of one runner: read every few seconds, Xids at once, changes told."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from batch_common.config import Gpu as Settings
from batch_common.events import GpuState
from batch_common.logs import get_log
from batch_gpu_runner.gpu import metrics
from batch_gpu_runner.gpu.driver_call import DriverCalls, DriverHangsError
from batch_gpu_runner.gpu.library import Library, NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.policy import Health, Policy, State, judge, policy_of
from batch_gpu_runner.gpu.reading import Gpu, Lost, Reading, Xid
from batch_gpu_runner.gpu.xid import kind_of, meaning
from batch_gpu_runner.gpu.xid_thread import XidThread

log = get_log(__name__)

_SILENT: Final = "the driver does not answer"


class Verdict(msgspec.Struct, frozen=True):
    """Over all GPUs: one bad one is enough, since the engine uses them all. `why`: for anybody."""

    health: Health
    why: str = ""


class _Watched(msgspec.Struct):
    gpu: Gpu
    policy: Policy
    state: State = State()
    reading: Reading = Reading()


class GpuWatch:
    """`open`, then `run`. Without a GPU it says so once, and is out of the way."""

    def __init__(self, settings: Settings, library: Library, environ: Mapping[str, str]) -> None:
        self.verdict = Verdict(Health.HEALTHY)
        self._settings = settings
        self._nvml = Nvml(library, environ)
        self._calls = DriverCalls()
        self._on_change: Callable[[Verdict], None] = _nobody
        self._watched: list[_Watched] = []

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Empty before `open`, and where there is none."""
        return tuple(each.gpu for each in self._watched)

    async def open(self) -> None:
        """Looks which GPUs there are."""
        try:
            gpus = await self._calls.call(self._nvml.open)
            driver = await self._calls.call(self._nvml.driver) if gpus else ""
        except NvmlError as error:
            log.info("gpus_not_watched", why=f"NVML: {error}")
            return
        except DriverHangsError:
            log.warning("gpus_not_watched", why=f"NVML: {_SILENT}; nvidia-smi may hang as well")
            return
        if not gpus:
            log.info("gpus_not_watched", why="this process sees none")
        for gpu in gpus:
            self._watched.append(_Watched(gpu, policy_of(self._settings, gpu)))
            metrics.show_gpu(gpu, driver)
            log.info("gpu_watched", gpu=gpu.index, uuid=gpu.uuid, name=gpu.name, driver=driver)

    async def run(self, on_change: Callable[[Verdict], None]) -> None:
        """Until cancelled; at once where there is no GPU.

        `on_change` is called when the health becomes another; it is good at first.
        """
        self._on_change = on_change
        if not self._watched:
            return
        xids = XidThread(self._nvml, self.gpus, self.report)
        xids.start()
        try:
            while True:
                for each in self._watched:
                    self._see(each, await self._read(each.gpu))
                await asyncio.sleep(self._settings.every_s)
        finally:
            # NVML itself is let go with the process: the thread may be in it for another second.
            xids.stop()

    def report(self, gpu: Gpu, xid: Xid) -> None:
        """The driver has reported an error."""
        metrics.XIDS.labels(metrics.label(gpu), str(xid.number)).inc()
        kind = kind_of(
            xid.number, fatal=self._settings.critical_xids, ignored=self._settings.ignored_xids
        )
        says = meaning(xid.number)
        log.warning("gpu_xid", gpu=gpu.index, xid=xid.number, kind=kind.value, says=says)
        for each in self._watched:
            if each.gpu == gpu:
                self._see(each, xid)

    def states(self) -> tuple[GpuState, ...]:
        """For this runner's entry in the bucket."""
        return tuple(
            GpuState(
                index=each.gpu.index,
                uuid=each.gpu.uuid,
                name=each.gpu.name,
                health=each.state.health.word,
                reason=each.state.why or None,
                utilization=each.reading.utilization,
                memory_used_bytes=each.reading.memory_used_bytes,
                memory_total_bytes=each.reading.memory_total_bytes,
                temperature_c=each.reading.temperature_c,
                power_w=each.reading.power_w,
            )
            for each in self._watched
        )

    async def _read(self, gpu: Gpu) -> Reading | Lost:
        try:
            return await self._calls.call(lambda: self._nvml.read(gpu))
        except DriverHangsError:
            return Lost(_SILENT)

    def _see(self, each: _Watched, seen: Reading | Lost | Xid) -> None:
        before, each.state = each.state, judge(each.state, seen, time.monotonic(), each.policy)
        if isinstance(seen, Reading):
            each.reading = seen
            metrics.show_reading(each.gpu, seen)
        metrics.show_state(each.gpu, each.state)
        if each.state.health is not before.health:
            self._tell(each, before.health)
        self._decide()

    def _tell(self, each: _Watched, before: Health) -> None:
        health = each.state.health
        say = log.error if health is Health.CRITICAL else log.warning
        (say if health > before else log.info)(
            "gpu_health", gpu=each.gpu.index, was=before.word, now=health.word, why=each.state.why
        )

    def _decide(self) -> None:
        worst = max(self._watched, key=lambda each: each.state.health)
        why = f"GPU {worst.gpu.index}: {worst.state.why}" if worst.state.why else ""
        verdict = Verdict(worst.state.health, why)
        changed = verdict.health is not self.verdict.health
        self.verdict = verdict
        if changed:
            self._on_change(verdict)


def _nobody(verdict: Verdict) -> None:
    """Before `run`."""
