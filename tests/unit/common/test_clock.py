"""The clock goes by whom it was set, and only then moves when it is told so."""

from collections.abc import Iterator

import pytest

from batch_common import clock


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    clock.unset()
    yield
    clock.unset()


def test_this_machine_until_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "wall", lambda: 1000.0)
    assert clock.now() == 1000.0
    assert clock.timestamp() == 1000


def test_a_stepped_machine_changes_nothing_once_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The race of an operator's `date -s`, or NTP, against every claim and window."""
    at = [50.0]
    monkeypatch.setattr(clock, "steady", lambda: at[0])
    monkeypatch.setattr(clock, "wall", lambda: 1000.0)
    assert clock.set_by(2000.0, 49.0) == 1001.0
    assert clock.now() == 2001.0
    monkeypatch.setattr(clock, "wall", lambda: 4600.0)
    at[0] = 60.0
    assert clock.now() == 2011.0
    clock.unset()
    assert clock.now() == 4600.0


def test_jitter_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "steady", lambda: 50.0)
    clock.set_by(2000.0, 50.0)
    assert clock.set_by(2000.1, 50.0) == 0.0
    assert clock.now() == 2000.0
    assert clock.set_by(1990.0, 50.0) == -10.0
    assert clock.now() == 1990.0
