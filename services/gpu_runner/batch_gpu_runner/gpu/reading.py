"""What is known of a GPU: what it is, and how it stands at one moment."""

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One device this runner uses; its temperatures are in °C, None where it does not say.

    index: NVML's, that of the whole GPU for a MIG device
    uuid: of the MIG device, where it is one
    max_operating_c: clocks go below the base clock from here on
    slowdown_c: the hardware halves its clocks from here on
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    is_mig: bool = False
    max_operating_c: int | None = None
    slowdown_c: int | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """None: this GPU, or this driver, does not say.

    utilization: share of the last moment in which it computed anything, 0.0 to 1.0
    memory_total_bytes: without what the driver keeps for itself
    throttled_by: of THROTTLE_REASONS
    ecc_corrected, ecc_uncorrected: since the driver was loaded
    rows_pending: memory rows wait for a reset of the GPU to be replaced
    rows_failed: one could not be replaced any more
    """

    utilization: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttled_by: frozenset[str] = frozenset()
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    rows_pending: bool = False
    rows_failed: bool = False

    @property
    def memory_share(self) -> float | None:
        """Of the memory, how much is in use, by whomever."""
        if self.memory_used_bytes is None or not self.memory_total_bytes:
            return None
        return self.memory_used_bytes / self.memory_total_bytes


class Lost(msgspec.Struct, frozen=True):
    """The driver says nothing of the GPU any more, or that it is gone. `why`: fit for anybody."""

    why: str


class Unreached(msgspec.Struct, frozen=True):
    """A GPU of this runner that the driver names and cannot reach.

    index: NVML's; None where it is not known either
    why: fit for anybody
    """

    index: int | None
    why: str

    def __str__(self) -> str:
        return self.why if self.index is None else f"GPU {self.index}: {self.why}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the machine showed. `driver`: its version, as 580.65.06; empty: unknown."""

    gpus: tuple[Gpu, ...]
    unreached: tuple[Unreached, ...] = ()
    driver: str = ""


class Xid(msgspec.Struct, frozen=True):
    """An error report of the driver."""

    number: int
