"""The speed of a model, from what was committed."""

import pytest

from batch_scheduler.rates import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_all_runners_together() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert rates.of("m") is None
    for _ in range(10):
        clock.now += 2
        rates.committed("m", 100, age_s=6)
    assert rates.of("m") == pytest.approx(50, rel=0.01)


def test_idle_time_is_not_counted() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.committed("m", 100, age_s=10)
    clock.now += 3600
    rates.committed("m", 100, age_s=10)
    assert rates.of("m") == 10
