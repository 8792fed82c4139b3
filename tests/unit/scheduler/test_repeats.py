"""Repeated ids, also when their hashes lie."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batch_scheduler.repeats import repeated


@given(st.lists(st.none() | st.sampled_from("abcdef")), st.integers(1, 8))
def test_repeats_are_found_whatever_the_hashes_collide(ids: list[str | None], buckets: int) -> None:
    hashes = np.array([hash(one) % buckets for one in ids], np.int64)
    seen: set[str] = set()
    wanted = []
    for position, one in enumerate(ids):
        if one is not None and one in seen:
            wanted.append(position)
        seen.add(one or "none")
    assert repeated(hashes, ids.__getitem__).tolist() == wanted


def test_ids_are_read_again_only_where_hashes_are_equal() -> None:
    read: list[int] = []

    def read_id(position: int) -> str:
        read.append(position)
        return f"id{position}"

    assert repeated(np.array([5, 1, 7, 5], np.int64), read_id).tolist() == []
    assert sorted(read) == [0, 3]
