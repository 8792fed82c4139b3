"""What the harness asks of a process at its crash points, and what came of it: files in a folder.

`<role>.json` says what is armed in that role's process and by how much its clock is off; it is
replaced as a whole, and read again when it changed. `fired.jsonl` gets a line for each firing,
before the process acts on it: a fault that kills is known all the same.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from batch_common.ids import new_id

FIRED: Final = "fired.jsonl"
# In `fired.jsonl`: the process has seen its clock stepped.
CLOCK: Final = "clock"

# `during`: of a put, once half of the bytes (or a stream's first piece) are written.
Place = Literal["before", "during", "after"]
# kill: SIGKILL of itself; stop: SIGSTOP of itself, somebody else continues it; raise: `error`
# comes out of the step; sleep: it takes `seconds` longer.
Action = Literal["kill", "stop", "raise", "sleep"]
# What a store that is away or full, NATS or the database would raise there.
Error = Literal["blob", "full", "bus", "database"]


class PointFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen at a point (or at all that `point` fits: `put *`), and how often."""

    point: str
    side: Place = "before"
    action: Action = "kill"
    error: Error = "blob"
    seconds: float = 0.0
    # Firings in all, over restarts of the process; None: no limit.
    times: int | None = 1
    # Let so many pass first (in each process).
    skip: int = 0
    # Share of the passes at which it fires.
    rate: float = 1.0
    id: str = msgspec.field(default_factory=lambda: new_id("fault_"))


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a role's file."""

    faults: tuple[PointFault, ...] = ()
    clock_offset_s: float = 0.0
    time_shift_s: float = 0.0
    # Module constants to set when the process starts, as `module:NAME` or `module:NAME.field`.
    constants: dict[str, float] = msgspec.field(default_factory=dict)


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """One firing. `at` is in Unix seconds, of the clock that is not off."""

    id: str
    role: str
    pid: int
    point: str
    side: Place
    at: float


class Control:
    """The harness's side, for one role. A role is one process at a time."""

    def __init__(self, folder: Path, role: str) -> None:
        self.folder = folder
        self.role = role
        folder.mkdir(parents=True, exist_ok=True)
        self._orders = Orders()
        self._write()

    def arm(self, fault: PointFault) -> PointFault:
        """From now on, beside what is armed already; returns it for `fired`."""
        return self.arm_all([fault])[0]

    def arm_all(self, faults: Sequence[PointFault]) -> Sequence[PointFault]:
        self._replace(faults=(*self._orders.faults, *faults))
        return faults

    def disarm(self, *faults: PointFault) -> None:
        """These, or all when none is named."""
        gone = {fault.id for fault in faults or self._orders.faults}
        self._replace(faults=tuple(f for f in self._orders.faults if f.id not in gone))

    def step_clock(self, offset_s: float) -> None:
        """The process's wall clock is off by so much from now on."""
        self._replace(clock_offset_s=offset_s)

    def shift_time(self, shift_s: float) -> None:
        """All the time that the process knows is another one, the database's too."""
        self._replace(time_shift_s=shift_s)

    def set_constants(self, constants: dict[str, float]) -> None:
        """For processes that start after this."""
        self._replace(constants=constants)

    def fired(self, *faults: PointFault) -> list[Fired]:
        """Firings of these, or all of the role, oldest first."""
        wanted = {fault.id for fault in faults}
        found = [f for f in read_fired(self.folder) if f.role == self.role]
        return [f for f in found if not wanted or f.id in wanted]

    def clock_steps(self) -> list[Fired]:
        """How often the process has looked at a clock that was stepped since."""
        return [fired for fired in self.fired() if fired.point == CLOCK]

    def _replace(self, **changes: object) -> None:
        self._orders = msgspec.structs.replace(self._orders, **changes)
        self._write()

    def _write(self) -> None:
        path = orders_path(self.folder, self.role)
        temporary = path.with_suffix(f".{uuid.uuid4().hex}")
        temporary.write_bytes(msgspec.json.encode(self._orders))
        temporary.replace(path)


def orders_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.json"


def read_fired(folder: Path) -> list[Fired]:
    """Of every role, oldest first."""
    try:
        data = (folder / FIRED).read_bytes()
    except FileNotFoundError:
        return []
    # A reader may come in the middle of a line.
    whole = data[: data.rfind(b"\n") + 1]
    return msgspec.json.Decoder(Fired).decode_lines(whole)
