"""Running the matrix of crash points, on a few systems side by side."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from chaos.control import PointFault
from chaos.crash_matrix import Case
from chaos.crash_rig import Rig, rig
from chaos.crash_stories import STORIES

# How often a story is told until the point was reached: another relay may be the first.
_TRIES: Final = 4


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
        self.outcomes: list[Outcome] = []

    async def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """All of them, in any order."""
        waiting = list(reversed(cases))
        done: list[Outcome] = []

        async def work() -> None:
            while waiting:
                async with rig(self._folder / uuid.uuid4().hex[:6]) as system:
                    healthy = True
                    while waiting and healthy:
                        done.append(await run_case(system, waiting.pop()))
                        healthy = not done[-1].failure

        await asyncio.gather(*(work() for _ in range(min(self._size, len(cases)))))
        self.outcomes += done
        return done


async def run_case(rig: Rig, case: Case) -> Outcome:
    """Tells the story until somebody has died at the point, and looks at what has become of it."""
    began = time.monotonic()
    tries = 0
    try:
        async with asyncio.timeout(180):
            tries = await _until_fired(rig, case)
            await rig.settled()
    except (AssertionError, TimeoutError) as error:
        why = f"{error or type(error).__name__} (logs in {rig.system.logs})"
        return Outcome(case, time.monotonic() - began, tries, why)
    return Outcome(case, time.monotonic() - began, tries)


async def _until_fired(rig: Rig, case: Case) -> int:
    control = rig.controls[case.service]
    fault = PointFault(point=case.point, side=case.side, skip=case.skip)
    try:
        for tries in range(1, _TRIES + 1):
            control.arm(fault)
            rig.run = uuid.uuid4().hex
            await STORIES[case.story](rig)
            if control.fired(fault):
                return tries
            control.disarm(fault)
        raise AssertionError(f"the point was not reached in {_TRIES} tries")
    finally:
        _calm(rig)


def _calm(rig: Rig) -> None:
    rig.refuse(0)
    rig.engine_faults()
    for control in rig.controls.values():
        control.disarm()
        control.step_clock(0.0)
