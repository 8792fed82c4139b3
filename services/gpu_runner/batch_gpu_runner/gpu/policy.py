"""How healthy a GPU is: decided from readings and Xids alone, without a clock or a driver.

A worse state takes effect at once; a better one once everything has been well for `recover_s`,
and well means below the threshold by a margin, so that nothing flaps.
"""

from enum import IntEnum
from typing import Final, Literal

import msgspec

from batch_common.config import Gpu as Settings
from batch_gpu_runner.gpu.reading import Gpu, Lost, Reading, Xid
from batch_gpu_runner.gpu.xid import Kind, kind_of, meaning

# For GPUs that name no limits of their own; most do, between 85 and 95 °C.
_MAX_OPERATING_C: Final = 87
_SLOWDOWN_C: Final = 92
_BELOW_SLOWDOWN_C: Final = 5
# A share of memory has left a threshold when it is below by this.
_MEMORY_MARGIN: Final = 0.01
# Heat and failing power, not the power limit, at which a busy GPU normally runs. `hw` alone also
# stands for a change of clocks, which passes.
THROTTLING: Final = frozenset({"hw", "hw_thermal", "sw_thermal", "hw_power_brake"})
# What somebody should look at is shown for so long.
_SUSPECT_S: Final = 600.0


Word = Literal["healthy", "degraded", "critical"]
_WORDS: Final[tuple[Word, ...]] = ("healthy", "degraded", "critical")


class Health(IntEnum):
    """Ordered from good to bad; the numbers are the metric's."""

    HEALTHY = 0
    DEGRADED = 1
    CRITICAL = 2

    @property
    def word(self) -> Word:
        return _WORDS[self.value]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU's thresholds; see `runner.gpu` in the configuration."""

    degraded_c: int
    critical_c: int
    margin_c: int
    degraded_memory: float
    critical_memory: float
    throttled_readings: int
    recover_s: float
    fatal_xids: frozenset[int] = frozenset()
    ignored_xids: frozenset[int] = frozenset()


def policy_of(settings: Settings, gpu: Gpu) -> Policy:
    """What is not configured is taken from the GPU's own limits, else from common ones."""
    critical_c = settings.critical_temperature_c or gpu.slowdown_c or _SLOWDOWN_C
    own = gpu.max_operating_c or (
        gpu.slowdown_c - _BELOW_SLOWDOWN_C if gpu.slowdown_c else _MAX_OPERATING_C
    )
    degraded_c = settings.degraded_temperature_c or min(own, critical_c - 1)
    return Policy(
        degraded_c=degraded_c,
        critical_c=critical_c,
        margin_c=settings.temperature_margin_c,
        degraded_memory=settings.degraded_memory,
        critical_memory=settings.critical_memory,
        throttled_readings=settings.throttled_readings,
        recover_s=settings.recover_s,
        fatal_xids=frozenset(settings.critical_xids),
        ignored_xids=frozenset(settings.ignored_xids),
    )


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, in words for anybody."""

    health: Health
    why: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one GPU between two looks.

    throttled: readings in a row that were
    well_since: when what was found became better than `health`; None: it has not
    fatal: Xid that only a new process of ours forgets; suspect: what is shown until `suspect_until`
    uncorrected: ECC errors counted at the last reading
    """

    health: Health = Health.HEALTHY
    findings: tuple[Finding, ...] = ()
    throttled: int = 0
    well_since: float | None = None
    fatal: int | None = None
    suspect: str = ""
    suspect_until: float = 0.0
    uncorrected: int | None = None

    @property
    def why(self) -> str:
        """Empty while all is well."""
        return "; ".join(finding.why for finding in self.findings)


def judge(state: State, seen: Reading | Lost | Xid, at: float, policy: Policy) -> State:
    """`at` counts seconds of any clock that never goes back."""
    match seen:
        case Xid():
            return _after_xid(state, seen.number, at, policy)
        case Lost():
            return _settle(state, [Finding(Health.CRITICAL, seen.why)], at, policy)
    state = _count(state, seen, at)
    return _settle(state, [*_standing(state, at), *_found(state, seen, policy)], at, policy)


def _after_xid(state: State, number: int, at: float, policy: Policy) -> State:
    change = msgspec.structs.replace
    match kind_of(number, fatal=policy.fatal_xids, ignored=policy.ignored_xids):
        case Kind.FATAL:
            state = change(state, fatal=number)
        case Kind.SUSPECT:
            state = change(state, suspect=meaning(number), suspect_until=at + _SUSPECT_S)
        case Kind.APPLICATION:
            return state
    # What the last reading found may still hold; the next one says.
    known = {finding.why for finding in _standing(state, at)}
    others = [finding for finding in state.findings if finding.why not in known]
    return _settle(state, [*_standing(state, at), *others], at, policy)


def _count(state: State, reading: Reading, at: float) -> State:
    is_throttled = bool(reading.throttled_by & THROTTLING)
    before, now = state.uncorrected, reading.ecc_uncorrected
    state = msgspec.structs.replace(
        state,
        throttled=state.throttled + 1 if is_throttled else 0,
        uncorrected=before if now is None else now,
    )
    if before is None or now is None or now <= before:
        return state
    why = f"{now - before} uncorrectable memory error(s) since the reading before"
    return msgspec.structs.replace(state, suspect=why, suspect_until=at + _SUSPECT_S)


def _standing(state: State, at: float) -> list[Finding]:
    """What readings do not show, but was reported."""
    found = []
    if state.fatal is not None:
        found.append(Finding(Health.CRITICAL, meaning(state.fatal)))
    if at < state.suspect_until:
        found.append(Finding(Health.DEGRADED, state.suspect))
    return found


def _found(state: State, reading: Reading, policy: Policy) -> list[Finding]:
    found = [
        _temperature(state, reading.temperature_c, policy),
        _memory(state, reading.memory_share, policy),
    ]
    if reading.rows_failed:
        found.append(Finding(Health.CRITICAL, "a bad memory row could not be replaced"))
    if state.throttled >= policy.throttled_readings:
        by = ", ".join(sorted(reading.throttled_by & THROTTLING))
        found.append(Finding(Health.DEGRADED, f"clocks are held down ({by})"))
    return [finding for finding in found if finding is not None]


def _temperature(state: State, now_c: int | None, policy: Policy) -> Finding | None:
    if now_c is None:
        return None
    for health, limit_c in (
        (Health.CRITICAL, policy.critical_c),
        (Health.DEGRADED, policy.degraded_c),
    ):
        if now_c >= limit_c - (policy.margin_c if state.health >= health else 0):
            return Finding(health, f"{now_c} °C; its limit is {limit_c} °C")
    return None


def _memory(state: State, share: float | None, policy: Policy) -> Finding | None:
    if share is None:
        return None
    for health, limit in (
        (Health.CRITICAL, policy.critical_memory),
        (Health.DEGRADED, policy.degraded_memory),
    ):
        if share >= limit - (_MEMORY_MARGIN if state.health >= health else 0.0):
            return Finding(health, f"{share:.1%} of its memory is in use; the limit is {limit:.1%}")
    return None


def _settle(state: State, findings: list[Finding], at: float, policy: Policy) -> State:
    change = msgspec.structs.replace
    worst = max((finding.health for finding in findings), default=Health.HEALTHY)
    if worst >= state.health:
        return change(state, health=worst, findings=tuple(findings), well_since=None)
    since = at if state.well_since is None else state.well_since
    if at - since < policy.recover_s:
        return change(state, well_since=since)
    return change(state, health=worst, findings=tuple(findings), well_since=None)
