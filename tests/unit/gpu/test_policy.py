"""The policy: what readings and Xids make of a GPU's health."""

import msgspec
import pytest

from batch_common.config import Gpu as Settings
from batch_gpu_runner.gpu.policy import Health, Policy, State, judge, policy_of
from batch_gpu_runner.gpu.reading import Gpu, Lost, Reading, Xid
from batch_gpu_runner.gpu.xid import APPLICATION, FATAL, SUSPECT, Kind, kind_of

GPU = Gpu(index=0, uuid="GPU-1", name="A", memory_bytes=1000, max_operating_c=85, slowdown_c=92)
POLICY = policy_of(Settings(), GPU)
COOL = Reading(temperature_c=60, memory_used_bytes=900, memory_total_bytes=1000)
EVERY_S = 2.0


def at_c(temperature: int) -> Reading:
    return msgspec.structs.replace(COOL, temperature_c=temperature)


def with_memory(used: int) -> Reading:
    return msgspec.structs.replace(COOL, memory_used_bytes=used)


class Clock:
    """Judges one look after the other, EVERY_S apart."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.state = State()
        self._policy = policy
        self._at = 0.0

    def see(self, *looks: Reading | Lost | Xid) -> Health:
        for look in looks:
            self._at += EVERY_S
            self.state = judge(self.state, look, self._at, self._policy)
        return self.state.health

    def looks(self, look: Reading, seconds: float) -> Health:
        return self.see(*[look] * int(seconds / EVERY_S))


def test_the_gpus_own_limits_are_the_defaults() -> None:
    assert (POLICY.degraded_c, POLICY.critical_c) == (85, 92)


@pytest.mark.parametrize(
    ("max_operating", "slowdown", "limits"),
    [(None, None, (87, 92)), (None, 95, (90, 95)), (88, None, (88, 92)), (95, 93, (92, 93))],
)
def test_what_a_gpu_does_not_say_is_filled_in(
    max_operating: int | None, slowdown: int | None, limits: tuple[int, int]
) -> None:
    gpu = msgspec.structs.replace(GPU, max_operating_c=max_operating, slowdown_c=slowdown)
    policy = policy_of(Settings(), gpu)
    assert (policy.degraded_c, policy.critical_c) == limits


def test_configured_limits_go_before_the_gpus() -> None:
    policy = policy_of(Settings(degraded_temperature_c=70, critical_temperature_c=75), GPU)
    assert (policy.degraded_c, policy.critical_c) == (70, 75)


def test_a_worse_state_comes_at_once_and_a_better_one_after_a_while() -> None:
    clock = Clock()
    assert clock.see(at_c(84)) is Health.HEALTHY
    assert clock.see(at_c(85)) is Health.DEGRADED
    assert clock.see(at_c(92)) is Health.CRITICAL
    assert "92 °C" in clock.state.why
    assert clock.looks(at_c(80), POLICY.recover_s) is Health.CRITICAL
    assert clock.see(at_c(80)) is Health.DEGRADED  # 80 is not yet below 85 by the margin
    assert clock.looks(at_c(79), POLICY.recover_s + EVERY_S) is Health.HEALTHY
    assert clock.state.why == ""


def test_a_temperature_around_a_limit_does_not_flap() -> None:
    clock = Clock()
    seen = [clock.see(at_c(91 + step % 2)) for step in range(100)]
    assert set(seen[1:]) == {Health.CRITICAL}


def test_one_bad_look_begins_the_wait_anew() -> None:
    clock = Clock()
    clock.see(at_c(93))
    clock.looks(at_c(60), POLICY.recover_s - EVERY_S)
    clock.see(at_c(93))
    assert clock.looks(at_c(60), POLICY.recover_s) is Health.CRITICAL
    assert clock.see(at_c(60)) is Health.HEALTHY


def test_memory_degrades_and_then_stops() -> None:
    clock = Clock()
    assert clock.see(with_memory(979)) is Health.HEALTHY
    assert clock.see(with_memory(980)) is Health.DEGRADED
    assert clock.see(with_memory(995)) is Health.CRITICAL
    assert "of its memory is in use" in clock.state.why
    assert clock.looks(with_memory(900), POLICY.recover_s + EVERY_S) is Health.HEALTHY


def test_throttling_counts_when_it_lasts_and_is_of_heat_or_power_failure() -> None:
    hot = msgspec.structs.replace(COOL, throttled_by=frozenset({"hw_thermal"}))
    full = msgspec.structs.replace(COOL, throttled_by=frozenset({"power_cap"}))
    clock = Clock()
    assert clock.looks(full, 100) is Health.HEALTHY
    assert clock.see(*[hot] * (POLICY.throttled_readings - 1)) is Health.HEALTHY
    assert clock.see(COOL, *[hot] * POLICY.throttled_readings) is Health.DEGRADED
    assert "hw_thermal" in clock.state.why


@pytest.mark.parametrize("number", [48, 62, 64, 74, 79, 95, 119, 120])
def test_a_fatal_xid_is_for_good(number: int) -> None:
    clock = Clock()
    assert clock.see(Xid(number)) is Health.CRITICAL
    assert f"Xid {number}" in clock.state.why
    assert clock.looks(COOL, 3600) is Health.CRITICAL


@pytest.mark.parametrize("number", [13, 31, 43, 45, 68, 109])
def test_an_applications_xid_changes_nothing(number: int) -> None:
    assert Clock().see(COOL, Xid(number)) is Health.HEALTHY


@pytest.mark.parametrize("number", [63, 94, 999])
def test_a_suspect_xid_is_shown_for_some_minutes(number: int) -> None:
    clock = Clock()
    assert clock.see(COOL, Xid(number)) is Health.DEGRADED
    assert clock.looks(COOL, 500) is Health.DEGRADED
    assert clock.looks(COOL, 200) is Health.HEALTHY


def test_a_suspect_xid_on_a_critical_gpu_makes_it_no_better() -> None:
    clock = Clock()
    clock.see(at_c(95), Xid(63))
    assert clock.state.health is Health.CRITICAL
    assert "95 °C" in clock.state.why
    assert "Xid 63" in clock.state.why


def test_configuration_goes_before_the_catalogue() -> None:
    policy = policy_of(Settings(critical_xids=(31,), ignored_xids=(79,)), GPU)
    assert Clock(policy).see(Xid(31)) is Health.CRITICAL
    assert Clock(policy).see(Xid(79)) is Health.HEALTHY


def test_uncorrectable_errors_count_when_they_become_more() -> None:
    def counted(errors: int) -> Reading:
        return msgspec.structs.replace(COOL, ecc_uncorrected=errors)

    clock = Clock()
    assert clock.see(counted(3), counted(3)) is Health.HEALTHY
    assert clock.see(counted(4)) is Health.DEGRADED
    assert clock.looks(counted(4), 700) is Health.HEALTHY


def test_a_memory_row_that_could_not_be_replaced_is_critical() -> None:
    assert Clock().see(msgspec.structs.replace(COOL, rows_failed=True)) is Health.CRITICAL
    assert Clock().see(msgspec.structs.replace(COOL, rows_pending=True)) is Health.HEALTHY


def test_a_gpu_that_cannot_be_reached_is_critical_until_it_can() -> None:
    clock = Clock()
    assert clock.see(COOL, Lost("gone")) is Health.CRITICAL
    assert clock.state.why == "gone"
    assert clock.looks(COOL, POLICY.recover_s + EVERY_S) is Health.HEALTHY


def test_figures_a_gpu_does_not_have_say_nothing() -> None:
    assert Clock().looks(Reading(), 100) is Health.HEALTHY


def test_no_xid_is_of_two_kinds() -> None:
    assert len(FATAL | SUSPECT | APPLICATION) == len(FATAL) + len(SUSPECT) + len(APPLICATION)
    assert kind_of(79) is Kind.FATAL
