# ruff: noqa: N802, N815, ARG002 - NVML's own names and arguments
"""An NVML library without a GPU: what it says is set, or read from a JSON file while it runs.

Held to the contract that the driver's own keeps: tests/unit/gpu/test_nvml_contract.py.
"""

import queue
import threading
from pathlib import Path
from typing import Any

import msgspec
import pynvml

GIB = 1 << 30
_WHOLE = 0xFFFFFFFF


class Card(msgspec.Struct, kw_only=True):
    """One GPU. Figures that are None are not supported by it."""

    uuid: str = "GPU-11111111-0000-0000-0000-000000000000"
    name: str = "Fake GPU 24GB"
    temperature_c: int | None = 50
    max_operating_c: int | None = 85
    slowdown_c: int | None = 92
    margin_c: int | None = None
    memory_total: int | None = 24 * GIB
    memory_used: int = 20 * GIB
    memory_reserved: int = GIB // 2
    utilization: int | None = 97
    power_w: float | None = 300.0
    power_limit_w: float | None = 350.0
    sm_clock_mhz: int | None = 1700
    memory_clock_mhz: int | None = 9500
    throttle: int | None = 0
    ecc_corrected: int | None = 0
    ecc_uncorrected: int | None = 0
    rows: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    capability: tuple[int, int] = (8, 9)
    has_events: bool = True
    # Of a MIG device: the whole GPU's UUID, and its instance there.
    whole: str | None = None
    instance: int = 0
    # It has fallen off the bus: nothing of it answers any more.
    is_lost: bool = False


class Orders(msgspec.Struct):
    """What the file holds: changes of the first card, and Xids to report, each once."""

    card: dict[str, Any] = {}
    xids: list[int] = []


class FakeNvml:
    """Cards in the driver's order; MIG devices behind `migs`.

    hang: every call waits while it is set; no_driver: there is none
    """

    def __init__(self, *cards: Card, migs: tuple[Card, ...] = (), no_driver: bool = False) -> None:
        self.cards = list(cards) if cards or no_driver else [Card()]
        self.migs = list(migs)
        self.driver = "580.65.06"
        self.cuda = 13000
        # Raised by every call that concerns a GPU; None: none is.
        self.failure: Exception | None = None
        # The error that the library begins with; None: it begins.
        self.no_begin: int | None = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND if no_driver else None
        self.calls = 0
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._sets: list[_EventSet] = []
        # Reported before anybody listened.
        self._unheard: list[_Event] = []
        self.inits = 0
        self._file: Path | None = None
        self._told = 0

    @classmethod
    def from_file(cls, path: Path) -> "FakeNvml":
        """Looks into the file, if it is there, at every reading."""
        fake = cls()
        fake._file = path
        return fake

    def hang(self) -> None:
        self._may_answer.clear()

    def unhang(self) -> None:
        self._may_answer.set()

    def report(self, xid: int, card: int = 0, instance: int = _WHOLE) -> None:
        """As the driver does."""
        kind = pynvml.nvmlEventTypeXidCriticalError
        event = _Event(self.cards[card], kind, xid, instance)
        listening = [each for each in self._sets if each.hears(event.device)]
        for each in listening:
            each.events.put(event)
        if not listening:
            self._unheard.append(event)

    def _call(self) -> None:
        self.calls += 1
        self._may_answer.wait()
        if self.no_begin is not None:
            raise pynvml.NVMLError(self.no_begin)
        if not self.inits:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self._obey()

    def _obey(self) -> None:
        if self._file is None or not self._file.exists():
            return
        orders = msgspec.json.decode(self._file.read_bytes(), type=Orders)
        for name, value in orders.card.items():
            setattr(self.cards[0], name, value)
        told, self._told = self._told, len(orders.xids)
        for xid in orders.xids[told:]:
            self.report(xid)

    def _of(self, card: Card, value: Any) -> Any:
        self._call()
        self._reach(card)
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    def _reach(self, card: Card) -> None:
        if self.failure is not None:
            raise self.failure
        if card.is_lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def _whole(self, card: Card) -> Card:
        return next(each for each in self.cards if each.uuid == card.whole)

    def nvmlInit(self) -> None:
        self.inits += 1
        try:
            self._call()
        except pynvml.NVMLError:
            self.inits -= 1
            raise

    def nvmlShutdown(self) -> None:
        self._call()
        self.inits -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._call()
        return self.driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        self._call()
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        self._call()
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        self._call()
        if not 0 <= index < len(self.cards):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        self._reach(self.cards[index])
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:
        self._call()
        for card in [*self.cards, *self.migs]:
            if card.uuid == uuid:
                return card
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetIndex(self, card: Card) -> int:
        return int(self._of(card, next(n for n, each in enumerate(self.cards) if each is card)))

    def nvmlDeviceGetUUID(self, card: Card) -> str:
        return str(self._of(card, card.uuid))

    def nvmlDeviceGetName(self, card: Card) -> str:
        return str(self._of(card, card.name))

    def nvmlDeviceGetCudaComputeCapability(self, card: Card) -> tuple[int, int]:
        major, minor = self._of(card, card.capability)
        return major, minor

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, card: Card) -> Card:
        self._of(card, card.whole)
        return self._whole(card)

    def nvmlDeviceGetGpuInstanceId(self, card: Card) -> int:
        self._of(card, card.whole)
        return card.instance

    def nvmlDeviceGetMemoryInfo(self, card: Card, version: Any = None) -> Any:
        total = self._of(card, card.memory_total)
        info = pynvml.c_nvmlMemory_v2_t() if version else pynvml.c_nvmlMemory_t()
        info.total = total
        reserved = card.memory_reserved
        info.used = card.memory_used if version else card.memory_used + reserved
        info.free = max(0, total - card.memory_used - reserved)
        if version:
            info.reserved = reserved
        return info

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> Any:
        rates = pynvml.c_nvmlUtilization_t()
        rates.gpu = self._of(card, None if card.whole else card.utilization)
        return rates

    def nvmlDeviceGetTemperature(self, card: Card, sensor: int) -> int:
        return int(self._of(card, card.temperature_c))

    def nvmlDeviceGetTemperatureThreshold(self, card: Card, kind: int) -> int:
        limits = {
            pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX: card.max_operating_c,
            pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: card.slowdown_c,
        }
        return int(self._of(card, limits.get(kind)))

    def nvmlDeviceGetMarginTemperature(self, card: Card) -> int:
        return int(self._of(card, card.margin_c))

    def nvmlDeviceGetPowerUsage(self, card: Card) -> int:
        return int(self._of(card, card.power_w) * 1000)

    def nvmlDeviceGetEnforcedPowerLimit(self, card: Card) -> int:
        return int(self._of(card, card.power_limit_w) * 1000)

    def nvmlDeviceGetClockInfo(self, card: Card, kind: int) -> int:
        clocks = {
            pynvml.NVML_CLOCK_SM: card.sm_clock_mhz,
            pynvml.NVML_CLOCK_MEM: card.memory_clock_mhz,
        }
        return int(self._of(card, clocks.get(kind)))

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card: Card) -> int:
        return int(self._of(card, card.throttle))

    def nvmlDeviceGetTotalEccErrors(self, card: Card, kind: int, counter: int) -> int:
        corrected = kind == pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED
        return int(self._of(card, card.ecc_corrected if corrected else card.ecc_uncorrected))

    def nvmlDeviceGetRemappedRows(self, card: Card) -> tuple[int, int, int, int]:
        rows: tuple[int, int, int, int] = self._of(card, card.rows)
        return rows

    def nvmlDeviceGetSupportedEventTypes(self, card: Card) -> int:
        return int(self._of(card, pynvml.nvmlEventTypeXidCriticalError if card.has_events else 0))

    def nvmlDeviceRegisterEvents(self, card: Card, kinds: int, events: Any) -> None:
        self._of(card, 0)
        if not card.has_events:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        events.cards.append(card)
        for event in [each for each in self._unheard if each.device is card]:
            self._unheard.remove(event)
            events.events.put(event)

    def nvmlEventSetCreate(self) -> "_EventSet":
        self._call()
        self._sets.append(_EventSet())
        return self._sets[-1]

    def nvmlEventSetWait_v2(self, events: "_EventSet", timeout_ms: int) -> Any:
        """The file's Xids come with the next reading; a driver that hangs reports none."""
        try:
            return events.events.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT) from None

    def nvmlEventSetFree(self, events: "_EventSet") -> None:
        self._call()
        self._sets.remove(events)


class _EventSet:
    def __init__(self) -> None:
        self.cards: list[Card] = []
        self.events: queue.Queue[_Event] = queue.Queue()

    def hears(self, card: Card) -> bool:
        return any(each is card for each in self.cards)


class _Event(msgspec.Struct, frozen=True):
    device: Card
    eventType: int
    eventData: int
    gpuInstanceId: int
