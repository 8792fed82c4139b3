"""Running the matrix of crash points, on a few systems side by side."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from chaos.control import PointFault
from chaos.crash_matrix import Case
from chaos.crash_rig import Rig, rig
from chaos.crash_stories import STORIES

# How often a story is told until the point was reached: another relay may be the first.
_TRIES: Final = 4
_LIMIT_S: Final = 240.0


class Outcome(msgspec.Struct, frozen=True):
    """One run. failure: empty when all ended well."""

    case: Case
    seconds: float
    tries: int
    failure: str = ""


class Pool:
    """Systems that runs take turns on; one that a run has failed on is replaced."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._rigs: list[tuple[Rig, AsyncExitStack]] = []
        self._began = time.monotonic()
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self._add() for _ in range(self._size)))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(stack.aclose() for _, stack in self._rigs))

    async def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """All of them, in any order."""
        waiting = list(reversed(cases))
        done: list[Outcome] = []

        async def work() -> None:
            while waiting:
                system, stack = self._rigs.pop()
                done.append(await run_case(system, waiting.pop()))
                self.outcomes.append(done[-1])
                if done[-1].failure:
                    await stack.aclose()
                    await self._add()
                else:
                    self._rigs.append((system, stack))

        await asyncio.gather(*(work() for _ in self._rigs))
        return done

    async def _add(self) -> None:
        stack = AsyncExitStack()
        system = await stack.enter_async_context(rig(self._folder / uuid.uuid4().hex[:6]))
        self._rigs.insert(0, (system, stack))

    def figures(self) -> str:
        """What a person wants to know of all runs so far."""
        points = {one.case.point for one in self.outcomes}
        places = {(one.case.service, one.case.point) for one in self.outcomes}
        slowest = max(self.outcomes, key=lambda one: one.seconds / one.tries, default=None)
        return (
            f"crash points: {len(points)}, in {len(places)} places of {len(self.outcomes)} runs; "
            f"{sum(bool(one.failure) for one in self.outcomes)} went wrong; "
            f"{time.monotonic() - self._began:.0f} s; the slowest: "
            f"{slowest and f'{slowest.case} {slowest.seconds:.1f} s'}"
            + "".join(f"\n  {one.case}: {one.failure}" for one in self.outcomes if one.failure)
        )


async def first_start(folder: Path, case: Case) -> Outcome:
    """A run on a system of its own, hit while it starts."""
    began = time.monotonic()
    fault = PointFault(point=case.point, side=case.side)
    # Names of its own would make the paths of sockets too long.
    own = folder / uuid.uuid4().hex[:8]
    async with rig(own, {case.service: fault}) as system:
        system.run = uuid.uuid4().hex
        try:
            await STORIES[case.story](system)
            assert system.controls[case.service].fired(fault), "the point was not reached"
            await system.settled()
        except Exception as error:  # noqa: BLE001 - as above
            return Outcome(case, time.monotonic() - began, 1, repr(error))
    return Outcome(case, time.monotonic() - began, 1)


async def run_case(rig: Rig, case: Case) -> Outcome:
    """Tells the story until somebody has died at the point, and looks at what has become of it."""
    began = time.monotonic()
    tries = 1
    try:
        async with asyncio.timeout(_LIMIT_S):
            while not await _fires(rig, case):
                assert tries < _TRIES, f"the point was not reached in {_TRIES} tries"
                tries += 1
            await rig.settled()
    except Exception as error:  # noqa: BLE001 - whatever it was, the other runs go on
        why = f"{error!r} (logs in {rig.system.logs})"
        return Outcome(case, time.monotonic() - began, tries, why)
    return Outcome(case, time.monotonic() - began, tries)


async def _fires(rig: Rig, case: Case) -> bool:
    """One telling, and whether the point was reached."""
    control = rig.controls[case.service]
    fault = control.arm(PointFault(point=case.point, side=case.side, skip=case.skip))
    rig.run = uuid.uuid4().hex
    try:
        await STORIES[case.story](rig)
        return bool(control.fired(fault))
    finally:
        rig.calm()
