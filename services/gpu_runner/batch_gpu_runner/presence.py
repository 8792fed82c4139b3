"""Telling the others about this runner: its entry in the `runners` bucket."""

import asyncio
import contextlib
import os
import re
import socket
import time
from typing import Final, Literal

from batch_common.bus import Bus
from batch_common.clock import now
from batch_common.errors import BusUnavailableError
from batch_common.events import ModelState, RunnerState
from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_common.presence import announce, withdraw
from batch_gpu_runner import metrics
from batch_gpu_runner.engines.base import ENDPOINTS
from batch_gpu_runner.gear import Gear
from batch_gpu_runner.rates import Rates
from batch_gpu_runner.window import Window

log = get_log(__name__)

_TICK_S: Final = 1.0
_EVERY_TICKS: Final = 5
# At first every tick, so that nobody waits five seconds to learn of a new runner's rates.
_EAGER_TICKS: Final = 15
_WITHDRAW_S: Final = 2.0

Status = Literal["starting", "ready", "draining", "down"]


def runner_id() -> str:
    """This runner's, readable for people and safe as a key: host, process, and something new."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "host"
    return f"{host}-{os.getpid()}-{new_id('')[-5:]}"


class Presence:
    """Announces what it is told to show; `changed` at once, else every few seconds."""

    def __init__(self, bus: Bus, runner: str, gear: Gear) -> None:
        self.rates: dict[str, Rates] = {}
        self._bus = bus
        self._runner = runner
        self._gear = gear
        self._window: Window | None = None
        self._status: Status = "starting"
        self._reason: str | None = None
        self._started_at = now()
        self._changed = asyncio.Event()
        self._left = False

    def rates_of(self, model: str) -> Rates:
        return self.rates.setdefault(model, Rates())

    def feeds(self, window: Window) -> None:
        """From now on this window's load is shown."""
        self._window = window

    def shows(self, status: Status, reason: str | None = None) -> None:
        """Announces a new status at once; nothing follows `draining`. `reason` is for anybody."""
        if (status, reason) != (self._status, self._reason) and self._status != "draining":
            self._status, self._reason = status, reason
            self._changed.set()

    async def stay_down(self, reason: str) -> None:
        """For a runner that ends for this reason: the entry outlives it for some seconds."""
        self.shows("down", reason)
        self._left = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHDRAW_S):
                await self._announce()

    async def run(self) -> None:
        """Until cancelled."""
        ticks = 0
        last = time.monotonic()
        while True:
            if ticks < _EAGER_TICKS or ticks % _EVERY_TICKS == 0 or self._changed.is_set():
                self._changed.clear()
                await self._announce()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._changed.wait()
            self._tick(time.monotonic() - last)
            last = time.monotonic()
            ticks += 1

    async def leave(self) -> None:
        """Removes the entry, once; if NATS is away it disappears by itself."""
        if self._left:
            return
        self._left = True
        try:
            async with asyncio.timeout(_WITHDRAW_S):
                await withdraw(self._bus, self._runner)
        except (TimeoutError, BusUnavailableError) as error:
            log.debug("withdraw_failed", error=str(error))

    def state(self) -> RunnerState:
        """As it is announced."""
        window = self._window
        return RunnerState(
            runner=self._runner,
            engine=self._gear.kind,
            models=tuple(self._model(name) for name in self._gear.engine.models),
            status=self._status,
            reason=self._reason,
            window=window.size if window else 0,
            in_flight=window.in_flight if window else 0,
            started_at=self._started_at,
            at=now(),
            gpus=self._gear.gpus.states(),
        )

    def _model(self, name: str) -> ModelState:
        rate = self.rates_of(name).measured()
        return ModelState(
            name=name,
            endpoints=tuple(each for each in ENDPOINTS if self._gear.engine.supports(each)),
            requests_per_s=rate.requests_per_s if rate else None,
            tokens_per_s=rate.tokens_per_s if rate else None,
        )

    async def _announce(self) -> None:
        try:
            await announce(self._bus, self.state())
        except BusUnavailableError as error:
            log.debug("announce_failed", error=str(error))

    def _tick(self, seconds: float) -> None:
        in_flight = self._window.in_flight if self._window else 0
        metrics.IN_FLIGHT.set(in_flight)
        for rates in self.rates.values():
            rates.tick(seconds, busy=in_flight > 0)
