"""Finding the request that kills the engine."""

import pytest

from batch_common.blobs import BlobStore
from batch_gpu_runner.chunk import Request
from batch_gpu_runner.suspects import Suspects
from support.chunks import make_chunk, make_ready


def requests(blobs: BlobStore, count: int) -> list[Request]:
    chunk = make_chunk(blobs, make_ready(count))
    return list(iter(chunk.take, None))


def try_all(suspects: Suspects, killers: set[int]) -> tuple[set[int], set[int], int]:
    """(acquitted, convicted, deaths), running each group at once until nobody is on trial."""
    acquitted: set[int] = set()
    convicted: set[int] = set()
    deaths = 0
    while True:
        suspects.survived()
        if not suspects.on_trial:
            return acquitted, convicted, deaths
        group = list(iter(suspects.take, None))
        if killers & {each.position for each in group}:
            deaths += 1
            found = suspects.engine_died(group)
            if found is not None:
                convicted.add(found.position)
        else:
            acquitted |= {each.position for each in group}


@pytest.mark.parametrize("killers", [set(), {0}, {127}, {3, 4}, {0, 64, 100}])
async def test_exactly_the_killers_are_convicted(blobs: BlobStore, killers: set[int]) -> None:
    suspects = Suspects(deaths=3)
    suspects.engine_died(requests(blobs, 128))
    acquitted, convicted, deaths = try_all(suspects, killers)
    assert convicted == killers
    assert acquitted == set(range(128)) - killers
    assert deaths <= 9 * len(killers)


async def test_one_that_was_alone_by_chance_is_tried_again(blobs: BlobStore) -> None:
    """Engines are also killed from outside: one death proves nothing."""
    suspects = Suspects(deaths=3)
    [request] = requests(blobs, 1)
    assert suspects.engine_died([request]) is None
    again = suspects.take()
    assert again is not None
    assert again.deaths == 1
    assert suspects.engine_died([again]) is None
    last = suspects.take()
    assert last is not None
    convicted = suspects.engine_died([last])
    assert convicted is not None
    assert convicted.deaths == 3
    suspects.survived()
    assert not suspects.on_trial


async def test_a_dropped_chunk_leaves_no_suspects(blobs: BlobStore) -> None:
    suspects = Suspects(deaths=3)
    mine, others = requests(blobs, 4), requests(blobs, 3)
    suspects.engine_died([*mine, *others])
    suspects.drop(mine[0].chunk)
    assert len(suspects) == 3
