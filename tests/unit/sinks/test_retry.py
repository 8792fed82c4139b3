"""When a failed delivery is tried again, and when it is given up."""

from hypothesis import given
from hypothesis import strategies as st

from batch_sinks.retry import GiveUp, Retry, after_failure

HOURS_72 = 72 * 3600.0


def delay(attempt: int, *, age_s: float = 0.0, jitter: float = 0.0) -> float:
    step = after_failure(attempt=attempt, age_s=age_s, retry_for_s=HOURS_72, jitter=jitter)
    assert isinstance(step, Retry)
    return step.delay_s


def test_pauses_double_up_to_an_hour() -> None:
    assert [delay(n) for n in (1, 2, 3, 12, 13, 40, 10**6)] == [1, 2, 4, 2048, 3600, 3600, 3600]


def test_jitter_takes_up_to_half() -> None:
    assert 2.0 < delay(3, jitter=0.999) < 2.01


def test_the_last_try_is_at_the_end_of_the_time() -> None:
    assert delay(30, age_s=HOURS_72 - 10) == 10


def test_after_the_time_it_is_given_up() -> None:
    assert after_failure(attempt=80, age_s=HOURS_72, retry_for_s=HOURS_72, jitter=0.5) == GiveUp()


@given(
    attempt=st.integers(1, 10**9),
    age_s=st.floats(0, HOURS_72, exclude_max=True),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_no_pause_is_negative_endless_or_past_the_end(
    attempt: int, age_s: float, jitter: float
) -> None:
    assert 0 < delay(attempt, age_s=age_s, jitter=jitter) <= min(3600, HOURS_72 - age_s)
