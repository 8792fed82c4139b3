"""What is left of windows, from deadlines and the measured rate."""

import math

from batch_scheduler.margin import Work, margin_s

NOW = 1_000.0


def test_a_batch_waits_for_all_that_are_due_before_it() -> None:
    """Each alone would be done in time; the second one is not, behind the first."""
    first, second = Work(deadline=1_100, requests=800), Work(deadline=1_120, requests=600)
    assert margin_s([first], 10, NOW) == 20
    assert margin_s([second], 10, NOW) == 60
    assert margin_s([second, first], 10, NOW) == -20


def test_one_that_is_due_later_takes_nothing_from_one_before_it() -> None:
    work = [Work(deadline=1_100, requests=500), Work(deadline=90_000, requests=50_000)]
    assert margin_s(work, 10, NOW) == 50


def test_without_a_rate_the_whole_rest_of_the_window_is_left() -> None:
    assert margin_s([Work(deadline=1_100, requests=10**6)], None, NOW) == 100


def test_a_deadline_that_has_passed_is_below_zero_without_any_rate() -> None:
    assert margin_s([Work(deadline=990, requests=1)], None, NOW) == -10


def test_no_work_has_no_margin() -> None:
    assert margin_s([], 10, NOW) == math.inf
