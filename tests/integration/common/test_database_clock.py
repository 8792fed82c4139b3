"""Processes with wrong clocks agree on the database's time."""

import time
from collections.abc import Iterator

import pytest

from batch_common import clock, database_clock
from batch_common.db import Database
from support.wait import until


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    yield
    clock.unset()


@pytest.mark.parametrize("off_s", [3600.0, -3600.0])
async def test_a_wrong_clock_is_put_right(
    database: Database, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    monkeypatch.setattr(clock, "wall", lambda: time.time() + off_s)
    assert abs(clock.now() - time.time()) > 3000
    async with database_clock.database_clock(database):
        assert abs(clock.now() - time.time()) < 1
    assert abs(clock.now() - time.time()) > 3000


async def test_the_databases_own_step_is_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_clock, "_EVERY_S", 0.05)
    async with database_clock.database_clock(database):
        clock.set_by(time.time() + 500, clock.steady())
        assert clock.now() > time.time() + 400
        await until(lambda: abs(clock.now() - time.time()) < 1, what="the database's time")


async def test_a_database_that_is_away_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_clock, "_EVERY_S", 0.01)
    async with database_clock.database_clock(database):
        before = clock.now() - clock.steady()
        monkeypatch.setattr(database, "read", _away)
        with pytest.raises(ConnectionError):
            await database_clock.look(database)
        assert clock.now() - clock.steady() == pytest.approx(before, abs=0.001)


def _away() -> None:
    raise ConnectionError("a database that is away")
