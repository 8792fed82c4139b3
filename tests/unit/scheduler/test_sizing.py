"""How large chunks become."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batch_scheduler.sizing import Demand, Limits, chunk_end, wanted_lines

LIMITS = Limits(max_requests=5000, max_bytes=16 << 20, target_s=120, first_requests=500)


def wanted(remaining: int, runners: int = 1, rate: float | None = None) -> int:
    demand = Demand(remaining=remaining, runners=runners, requests_per_s=rate)
    return wanted_lines(LIMITS, demand)


def test_a_model_of_unknown_speed_starts_small() -> None:
    assert wanted(100_000) == 500


def test_a_chunk_is_two_minutes_of_one_runner() -> None:
    assert wanted(100_000, rate=10) == 1200
    assert wanted(100_000, runners=4, rate=40) == 1200
    assert wanted(100_000, rate=1000) == 5000
    assert wanted(100_000, rate=0.001) == 1


def test_towards_the_end_chunks_shrink_so_that_runners_finish_together() -> None:
    rate, left, sizes = 40.0, 4000, []
    while left:
        sizes.append(min(wanted(left, runners=4, rate=rate), left))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 500
    assert max(sizes[-4:]) <= 50


def test_one_runner_alone_needs_no_shrinking() -> None:
    assert wanted(1000, runners=1, rate=10) == 1200


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=50),
    st.integers(1, 60),
    st.integers(1, 100_000),
)
def test_a_chunk_keeps_its_bytes_but_for_one_line_that_cannot(
    lengths: list[int], want: int, most: int
) -> None:
    end = chunk_end(np.array(lengths, np.uint32), want, most)
    assert 1 <= end <= min(want, len(lengths))
    assert end == 1 or sum(lengths[:end]) <= most
    if end < min(want, len(lengths)):
        assert sum(lengths[: end + 1]) > most


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=300),
    st.data(),
)
def test_every_line_is_in_exactly_one_chunk_for_any_schedule(
    lengths: list[int], data: st.DataObject
) -> None:
    """Rates, runners and limits change between releases as they please."""
    array, line, ranges = np.array(lengths, np.uint32), 0, []
    while line < len(lengths):
        limits = Limits(
            max_requests=data.draw(st.integers(1, 50)),
            max_bytes=data.draw(st.integers(1, 40_000)),
            target_s=120,
            first_requests=data.draw(st.integers(1, 50)),
        )
        demand = Demand(
            remaining=len(lengths) - line,
            runners=data.draw(st.integers(0, 5)),
            requests_per_s=data.draw(st.none() | st.floats(0.001, 1000)),
        )
        end = line + chunk_end(array[line:], wanted_lines(limits, demand), limits.max_bytes)
        assert end - line <= limits.max_requests
        ranges.append(range(line, end))
        line = end
    assert [n for one in ranges for n in one] == list(range(len(lengths)))
