"""Watching the GPUs of one runner: read every few seconds, Xids at once, changes told."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import pynvml

from batch_common.config import Gpu as Settings
from batch_common.events import GpuState
from batch_common.logs import get_log
from batch_gpu_runner.gpu import metrics
from batch_gpu_runner.gpu.driver_call import DriverCalls, DriverHangsError
from batch_gpu_runner.gpu.library import Library, NvmlError
from batch_gpu_runner.gpu.nvml import Nvml
from batch_gpu_runner.gpu.policy import Finding, Health, Policy, State, judge, policy_of
from batch_gpu_runner.gpu.reading import Found, Gpu, Lost, Reading, Unreached, Xid
from batch_gpu_runner.gpu.xid import kind_of, meaning
from batch_gpu_runner.gpu.xid_thread import XidThread

log = get_log(__name__)

_SILENT: Final = "the driver does not answer"
# After these there is no GPU to watch; after anything else there may be one in trouble.
_NO_DRIVER: Final = frozenset(
    {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
)
# Between two looks for a GPU that could not be reached. Rare: each may take a driver in trouble
# seconds, and nothing else is read meanwhile.
_LOOK_AGAIN_S: Final = 15.0


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
    """`open`, then `run`. Without a driver or a GPU it says so once, and is out of the way.

    A GPU that cannot be reached, or a driver in trouble, is critical from the start, and looked for
    again; the GPUs beside it are watched.
    """

    def __init__(self, settings: Settings, library: Library, environ: Mapping[str, str]) -> None:
        self.verdict = Verdict(Health.HEALTHY)
        self._settings = settings
        self._nvml = Nvml(library, environ)
        self._calls = DriverCalls()
        self._on_change: Callable[[Verdict], None] = _nobody
        self._watched: list[_Watched] = []
        self._unreached: tuple[Unreached, ...] = ()
        self._looked_at = 0.0
        self._xids: XidThread | None = None

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Empty before `open`, and where there is none."""
        return tuple(each.gpu for each in self._watched)

    async def open(self) -> None:
        """Looks which GPUs there are."""
        try:
            found = await self._calls.call(self._nvml.look)
        except NvmlError as error:
            if error.value in _NO_DRIVER:
                log.info("gpus_not_watched", why=f"NVML: {error}")
                return
            found = _nothing(error)
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            found = _nothing(error)
        if not found.gpus and not found.unreached:
            log.info("gpus_not_watched", why="this process sees none")
            return
        self._take(found)

    async def run(self, on_change: Callable[[Verdict], None]) -> None:
        """Until cancelled; at once where there is no driver or GPU.

        `on_change` is called when the health becomes another; it is good at first.
        """
        self._on_change = on_change
        if not self._watched and not self._unreached:
            return
        if self.verdict.health is not Health.HEALTHY:
            on_change(self.verdict)
        self._hear_xids()
        try:
            while True:
                await self._look_again()
                for each in self._watched:
                    self._see(each, await self._read(each.gpu))
                await asyncio.sleep(self._settings.every_s)
        finally:
            # NVML itself is let go with the process: the thread may be in it for another second.
            if self._xids:
                self._xids.stop()

    async def _look_again(self) -> None:
        """For what could not be reached."""
        if not self._unreached or time.monotonic() - self._looked_at < _LOOK_AGAIN_S:
            return
        try:
            found = await self._calls.call(self._nvml.look)
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            found = _nothing(error)
        if not (found.gpus or found.unreached):
            found = _nothing(RuntimeError("it names no GPU any more"))
        known = len(self._watched)
        self._take(found)
        if len(self._watched) > known:
            self._hear_xids()

    def _take(self, found: Found) -> None:
        """Watches what is new. What was looked for in vain is critical until it has been well for
        a while.
        """
        before, self._looked_at = self._unreached, time.monotonic()
        known = {each.gpu.uuid for each in self._watched}
        for gpu in found.gpus:
            if gpu.uuid not in known:
                self._watch(gpu, found.driver, before)
        # Of those that are watched, readings say more.
        indices = {each.gpu.index for each in self._watched if not each.gpu.is_mig}
        self._unreached = tuple(it for it in found.unreached if it.index not in indices)
        if self._unreached and self._unreached != before:
            log.error("gpus_unreached", why="; ".join(map(str, self._unreached)))
        metrics.show_unreached(self._unreached)
        self._decide()

    def _watch(self, gpu: Gpu, driver: str, unreached: tuple[Unreached, ...]) -> None:
        state = State()
        if unreached:
            why = Finding(Health.CRITICAL, "the driver could not reach it until now")
            state = State(health=Health.CRITICAL, findings=(why,))
        self._watched.append(_Watched(gpu, policy_of(self._settings, gpu), state))
        metrics.show_gpu(gpu, driver)
        log.info("gpu_watched", gpu=gpu.index, uuid=gpu.uuid, name=gpu.name, driver=driver)

    def _hear_xids(self) -> None:
        """Of all that are watched now."""
        if self._xids:
            self._xids.stop()
        if self._watched:
            self._xids = XidThread(self._nvml, self.gpus, self.report)
            self._xids.start()

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
        verdict = self._worst()
        changed = verdict.health is not self.verdict.health
        self.verdict = verdict
        if changed:
            self._on_change(verdict)

    def _worst(self) -> Verdict:
        if self._unreached:
            return Verdict(Health.CRITICAL, str(self._unreached[0]))
        worst = max(self._watched, key=lambda each: each.state.health)
        why = f"GPU {worst.gpu.index}: {worst.state.why}" if worst.state.why else ""
        return Verdict(worst.state.health, why)


def _nothing(error: Exception) -> Found:
    """Nothing is known of any GPU."""
    why = _SILENT if isinstance(error, DriverHangsError) else f"the driver fails ({error})"
    return Found(gpus=(), unreached=(Unreached(None, why),))


def _nobody(verdict: Verdict) -> None:
    """Before `run`."""
