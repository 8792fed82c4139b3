"""Who runs what at the moment, and which models are known at all."""

from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy import insert, select, update

from batch_common import clock
from batch_common.config import Config
from batch_common.db import Database
from batch_common.events import RunnerState
from batch_common.model_spec import served_names
from batch_common.tables import models

_REFRESH_S: Final = 60


class ModelFleet(msgspec.Struct, frozen=True):
    """The runners of one model. `requests_per_s` is over all of them; None while unknown."""

    runners: int = 0
    endpoints: frozenset[str] = frozenset()
    requests_per_s: float | None = None


def by_model(states: Iterable[RunnerState]) -> dict[str, ModelFleet]:
    """Runners that are about to leave, or whose engine does not come up, do not count; those that
    start do.
    """
    found: dict[str, ModelFleet] = {}
    for state in states:
        if state.status in ("draining", "down"):
            continue
        for model in state.models:
            known = found.get(model.name, ModelFleet())
            found[model.name] = ModelFleet(
                known.runners + 1,
                known.endpoints | frozenset(model.endpoints),
                _sum(known.requests_per_s, model.requests_per_s),
            )
    return found


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


class Fleet:
    """The last look at the runners; `looked` replaces it."""

    def __init__(self, config: Config) -> None:
        self._configured = frozenset(config.models) | served_names(config.runner)
        self._present: dict[str, ModelFleet] = {}

    def looked(self, states: Iterable[RunnerState]) -> None:
        self._present = by_model(states)

    @property
    def present(self) -> frozenset[str]:
        """Models that somebody serves or is about to."""
        return frozenset(self._present)

    def of(self, model: str) -> ModelFleet:
        return self._present.get(model, ModelFleet())

    async def known_models(self, database: Database) -> frozenset[str]:
        """Configured, present now, or announced at any time before."""
        async with database.read() as conn:
            announced = (await conn.execute(select(models.c.name))).scalars().all()
        return self._configured | frozenset(self._present) | frozenset(announced)

    async def remember(self, database: Database) -> None:
        """Keeps the names of the models that are present, so that they stay known."""
        now = clock.timestamp()
        async with database.read() as conn:
            seen = {row.name: row.last_seen for row in await conn.execute(select(models))}
        fresh = sorted(self._present.keys() - seen.keys())
        stale = [name for name in self._present if seen.get(name, now) < now - _REFRESH_S]
        if not fresh and not stale:
            return
        async with database.write("model seen") as conn:
            for name in fresh:
                row = {"name": name, "first_seen": now, "last_seen": now}
                await conn.execute(insert(models).values(row))
            if stale:
                await conn.execute(
                    update(models).where(models.c.name.in_(stale)).values(last_seen=now)
                )
