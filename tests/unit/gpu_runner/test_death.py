"""What an engine's end says, and what is spared after one of memory."""

import pytest

from batch_gpu_runner import memory
from batch_gpu_runner.death import Cause, Death, read_death
from batch_gpu_runner.engines.memory_steps import MAX_STEPS, STEPS, MemoryStep
from batch_gpu_runner.engines.vllm import spared_memory
from batch_gpu_runner.memory import Memory
from batch_gpu_runner.memory_record import Spared

OOM = Death("CUDA out of memory", Cause.OUT_OF_MEMORY)
CRASH = Death("CUDA error", Cause.CRASH)


@pytest.mark.parametrize(
    ("why", "cause"),
    [
        ("it ended with exit code 1; last words: torch.OutOfMemoryError: CUDA", "OUT_OF_MEMORY"),
        ("… RuntimeError: CUDA error: out of memory", "OUT_OF_MEMORY"),
        ("… RuntimeError: CUBLAS_STATUS_ALLOC_FAILED when calling …", "OUT_OF_MEMORY"),
        ("… terminate called: std::bad_alloc", "OUT_OF_MEMORY"),
        ("… RuntimeError: CUDA error: an illegal memory access was encountered", "CRASH"),
        ("it was killed by SIGSEGV", "CRASH"),
        ("it was killed by SIGKILL", "CRASH"),
    ],
)
def test_the_cause_is_in_its_last_words(why: str, cause: str) -> None:
    assert read_death(why).cause is Cause[cause]


def test_only_some_signals_come_from_outside() -> None:
    assert read_death("it was killed by SIGKILL").maybe_outside
    assert read_death("it was killed by SIGTERM; last words: bye").maybe_outside
    assert not read_death("it was killed by SIGABRT").maybe_outside
    assert not read_death("it ended with exit code 1").maybe_outside


def test_the_error_names_cause_and_last_words_within_reason() -> None:
    error = Death("x" * 10_000, Cause.OUT_OF_MEMORY).of_request()
    assert error.code == "engine_out_of_memory"
    assert "ran out of memory" in error.message
    assert len(error.message) < 700


class SparedEngine:
    """The engine's side of it."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def spare_memory(self, steps: int) -> None:
        self.steps.append(steps)


def after_oom(size: int, *deaths: tuple[int, bool]) -> tuple[Memory, SparedEngine]:
    """`deaths`: in flight, on trial."""
    engine = SparedEngine()
    spared = Memory(engine, size)  # type: ignore[arg-type]
    for in_flight, on_trial in deaths:
        spared.died(OOM, in_flight, on_trial=on_trial)
    return spared, engine


def test_requests_in_flight_are_halved_and_settings_go_down_once() -> None:
    spared, engine = after_oom(64, (64, False), (32, True), (16, True))
    assert (spared.size, engine.steps) == (8, [1])


def test_all_comes_back_when_one_request_was_to_blame() -> None:
    spared, engine = after_oom(64, (64, False), (32, True), (1, True))
    spared.convicted(OOM)
    assert (spared.size, engine.steps) == (64, [1, 0])


def test_other_deaths_cost_no_memory() -> None:
    spared, engine = after_oom(64)
    spared.died(CRASH, 64, on_trial=False)
    spared.convicted(CRASH)
    assert (spared.size, engine.steps) == (64, [])


def test_requests_come_back_to_three_quarters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_QUIET_S", 10.0)
    spared, _ = after_oom(64, (64, False))
    sizes = [spared.size for _ in range(12) if spared.passed(5.0)]
    assert sizes == [40, 48]


def test_steps_end_and_go_back_when_a_start_fails_otherwise() -> None:
    spared, engine = after_oom(64, *[(64, False)] * 6)
    assert engine.steps[-1] == MAX_STEPS
    spared.start_failed(out_of_memory=False)
    assert engine.steps[-1] == MAX_STEPS - 1
    spared.start_failed(out_of_memory=True)
    assert engine.steps[-1] == MAX_STEPS


def test_vllm_is_given_less_of_what_was_asked_for() -> None:
    assert spared_memory({"gpu_memory_utilization": "0.5"}, 0) == ()
    assert spared_memory({}, 1) == (
        "--gpu-memory-utilization=0.87",
        "--max-num-seqs=192",
        "--max-num-batched-tokens=1024",
    )
    given = {"gpu-memory-utilization": "0.5", "max_num_seqs": "16"}
    assert spared_memory(given, 2) == (
        "--gpu-memory-utilization=0.45",
        "--max-num-seqs=8",
        "--max-num-batched-tokens=512",
    )


def test_only_a_length_that_was_given_goes_down_and_last() -> None:
    given = {"max_model_len": "8192"}
    lengths = [[w for w in spared_memory(given, n) if "len" in w] for n in range(MAX_STEPS + 1)]
    assert lengths == [[], [], [], ["--max-model-len=6144"], ["--max-model-len=4096"]]
    assert not any("len" in word for word in spared_memory({}, MAX_STEPS))


def test_there_is_a_token_for_each_sequence() -> None:
    words = spared_memory({"max_num_seqs": "1024", "max_num_batched_tokens": "1024"}, 4)
    assert "--max-num-seqs=256" in words
    assert "--max-num-batched-tokens=256" in words


def test_each_step_takes_no_less_than_the_one_before() -> None:
    for name in MemoryStep.__struct_fields__:
        values = [getattr(step, name) for step in STEPS]
        assert values == sorted(values, reverse=True)
        assert values[0] == 1.0


def test_what_was_spared_before_is_spared_from_the_start() -> None:
    engine = SparedEngine()
    spared = Memory(engine, 64, Spared(2, 48))  # type: ignore[arg-type]
    assert (spared.size, engine.steps) == (48, [2])
    assert spared.spared == Spared(2, 48)


def test_what_is_kept_is_what_the_window_may_grow_back_to() -> None:
    assert after_oom(64)[0].spared is None
    assert after_oom(64, (64, False))[0].spared == Spared(1, 48)
