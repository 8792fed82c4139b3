"""Rates over the last minute of work."""

from batch_gpu_runner.rates import Rate, Rates


def worked(rates: Rates, seconds: int, requests: int, tokens: int = 10) -> None:
    for _ in range(seconds):
        for _ in range(requests):
            rates.add(tokens)
        rates.tick(1.0, busy=True)


def test_unknown_before_the_first_result() -> None:
    rates = Rates()
    assert rates.measured() is None
    rates.tick(1.0, busy=True)
    assert rates.measured() is None


def test_requests_and_tokens_a_second() -> None:
    rates = Rates()
    worked(rates, 10, 5)
    assert rates.measured() == Rate(5.0, 50.0)


def test_idle_time_does_not_count() -> None:
    rates = Rates()
    worked(rates, 10, 5)
    for _ in range(300):
        rates.tick(1.0, busy=False)
    assert rates.measured() == Rate(5.0, 50.0)


def test_waiting_for_slow_requests_counts() -> None:
    rates = Rates()
    rates.tick(9.0, busy=True)
    rates.add(100)
    rates.tick(1.0, busy=False)
    assert rates.measured() == Rate(0.1, 10.0)


def test_only_the_last_minute_counts() -> None:
    rates = Rates()
    worked(rates, 60, 1)
    worked(rates, 60, 9)
    assert rates.measured() == Rate(9.0, 90.0)
