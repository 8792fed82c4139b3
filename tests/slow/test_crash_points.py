"""A process dies at every point at which it makes something durable or lets go of it.

One run for each point and side; all must end as if nobody had died. `-k 'cancelled'` runs one
story alone.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from chaos.crash_matrix import EXEMPT, MATRIX, cases
from chaos.crash_runs import Pool, first_start

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
# Each is five processes, most of whose time is waiting: for leases, claims and redeliveries.
SYSTEMS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with Pool(tmp_path_factory.mktemp("crashes"), SYSTEMS) as made:
        yield made
        print(made.figures(), f"{len(EXEMPT)} exempt: {EXEMPT}", sep="\n")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("story", [name for name in MATRIX if name != "first start"])
async def test_every_batch_ends_as_if_nobody_had_died(pool: Pool, story: str) -> None:
    outcomes = await pool.run(list(cases(story)))
    assert [f"{one.case}: {one.failure}" for one in outcomes if one.failure] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_the_first_start(pool: Pool, tmp_path: Path) -> None:
    """Nothing is there yet, the tables neither."""
    outcomes = [await first_start(tmp_path, case) for case in cases("first start")]
    pool.outcomes += outcomes
    assert [f"{one.case}: {one.failure}" for one in outcomes if one.failure] == []
