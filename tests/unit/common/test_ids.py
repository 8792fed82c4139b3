"""Identifiers sort by the time they were made."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from batch_common import ids
from batch_common.ids import new_id


def test_the_form() -> None:
    made = new_id("batch_")
    assert made.startswith("batch_")
    assert len(made) == 6 + 26
    assert set(made[6:]) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_of_one_process_rise() -> None:
    made = [new_id("x_") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_threads_share_no_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [
            i
            for chunk in pool.map(lambda _: [new_id("") for _ in range(2_000)], range(8))
            for i in chunk
        ]
    assert len(set(made)) == 16_000


def test_a_clock_set_back_does_not_undo_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id("")
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000_000_000_000)
    assert new_id("") > before


def test_later_milliseconds_sort_later_between_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for milliseconds in (1, 2, 31, 32, 1_700_000_000_000, 2_900_000_000_000):
        monkeypatch.setattr(ids, "_last", 0)  # another process
        monkeypatch.setattr(ids.time, "time_ns", lambda ms=milliseconds: ms * 1_000_000)
        made.append(new_id(""))
    assert made == sorted(made)
