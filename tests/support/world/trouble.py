"""What happens to a step on its way: it dies, a store fails it, or another step comes between."""

from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import Literal

import msgspec
from sqlalchemy.exc import OperationalError

from batch_common import crash_points
from batch_common.crash_points import Side
from batch_common.errors import BlobUnavailableError, BusUnavailableError


class Died(BaseException):
    """The process was killed."""


class Trouble(msgspec.Struct, frozen=True):
    """At the point number `at` of a step, counted from 0."""

    kind: Literal["die", "fail", "race"]
    at: int


Between = Callable[[], Awaitable[None]]


class _Hook:
    def __init__(self, trouble: Trouble, between: Between | None) -> None:
        self._trouble = trouble
        self._between = between
        self._left = trouble.at
        self._done = False

    async def __call__(self, name: str, side: Side) -> None:
        if self._done:
            return
        writing = name.startswith("commit ") and side is Side.BEFORE
        if self._trouble.kind == "race" and writing:
            return  # the other writers wait for this one
        if self._left:
            self._left -= 1
            return
        self._done = True
        await self._strike(name)

    async def _strike(self, name: str) -> None:
        match self._trouble.kind:
            case "die":
                raise Died(name)
            case "race":
                if self._between is not None:
                    await self._between()
            case "fail":
                raise _failure(name)


def _failure(name: str) -> Exception:
    match name.partition(" ")[0]:
        case "commit":
            return OperationalError("commit", None, Exception("a fault of the database"))
        case "publish":
            return BusUnavailableError("a fault of the bus")
    return BlobUnavailableError("a fault of the blob store")


@contextmanager
def troubled(trouble: Trouble | None, between: Between | None = None):
    """Within the block, the death included: it ends the step and nothing else."""
    if trouble is None:
        yield
        return
    crash_points.install(_Hook(trouble, between))
    try:
        yield
    except Died:
        pass
    finally:
        crash_points.install(None)
