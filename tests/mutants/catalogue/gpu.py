"""In what a runner does about its GPUs."""

from typing import Final

from mutants.mutant import Mutant

_RUNNER: Final = "services/gpu_runner/batch_gpu_runner"
_HEALTH: Final = "tests/integration/gpu_runner/test_gpu_health.py"
_POLICY: Final = "tests/unit/gpu/test_policy.py"
_WATCH: Final = "tests/unit/gpu/test_watch.py"
_OFF_THE_BUS: Final = (
    f"{_HEALTH}::test_a_gpu_off_the_bus_hands_back_within_five_seconds_and_another_runner_goes_on"
)

MUTANTS: Final = (
    Mutant(
        name="a critical GPU stops pulling and keeps its chunks",
        file=f"{_RUNNER}/availability.py",
        old="        if self.is_down and not was_down:\n            self._let_go()",
        new="        del was_down",
        tests=(_OFF_THE_BUS,),
    ),
    Mutant(
        name="a critical GPU hands back and pulls again",
        file=f"{_RUNNER}/availability.py",
        old='        if status == "ready":',
        new='        if self._engine[0] == "ready":',
        tests=(f"{_HEALTH}::test_pulling_stops_and_resumes_along_a_trace_of_heat_and_memory",),
    ),
    Mutant(
        name="a degraded GPU gets as many requests as before",
        file=f"{_RUNNER}/runner.py",
        old="1.0 if is_well else self._settings.gpu.degraded_window",
        new="1.0",
        tests=(f"{_HEALTH}::test_pulling_stops_and_resumes_along_a_trace_of_heat_and_memory",),
    ),
    Mutant(
        name="a fatal Xid is forgotten with the next reading",
        file=f"{_RUNNER}/gpu/policy.py",
        old="            state = change(state, fatal=number)",
        new="            state = change(state, suspect=meaning(number), suspect_until=at)",
        tests=(f"{_POLICY}::test_a_fatal_xid_is_for_good",),
    ),
    Mutant(
        name="a GPU is well as soon as it is below its limit",
        file=f"{_RUNNER}/gpu/policy.py",
        old="limit_c - (policy.margin_c if state.health >= health else 0)",
        new="limit_c",
        tests=(f"{_POLICY}::test_a_worse_state_comes_at_once_and_a_better_one_after_a_while",),
    ),
    Mutant(
        name="a driver that hangs is asked again and again",
        file=f"{_RUNNER}/gpu/driver_call.py",
        old="        if self._running is not None:\n            await self._wait(self._running)",
        new="        await asyncio.sleep(0)",
        tests=(
            f"{_WATCH}::test_a_driver_that_hangs_makes_the_gpu_critical_and_nothing_else_stops",
        ),
    ),
)
