"""The process's side of chaos.control: what is armed is looked up at each point, and done there."""

import asyncio
import errno
import fnmatch
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
from sqlalchemy.exc import OperationalError

from batch_common.errors import BlobStoreFullError, BlobUnavailableError
from chaos.control import CLOCK, FIRED, Fired, Orders, Place, PointFault, orders_path, read_fired


class PointHook:
    """Install `reached` with crash_points; a point costs one `os.stat`."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self._role = role
        self._path = orders_path(folder, role)
        self._version: tuple[int, int] | None = None
        self._orders = Orders()
        self._passed: Counter[str] = Counter()
        self._fired: Counter[str] = Counter()
        self._log = os.open(folder / FIRED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @property
    def orders(self) -> Orders:
        """As the file says now; the last that was there when it is missing."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return self._orders
        version = (found.st_ino, found.st_mtime_ns)
        if version != self._version:
            before, self._orders = (
                self._orders,
                msgspec.json.decode(self._path.read_bytes(), type=Orders),
            )
            if before.clock_offset_s != self._orders.clock_offset_s:
                self._note(CLOCK, CLOCK, "after")
            self._fired = Counter(f.id for f in read_fired(self._folder) if f.role == self._role)
            self._version = version
        return self._orders

    async def reached(self, point: str, side: str) -> None:
        for fault in self.orders.faults:
            if fits(fault, point, side) and self._is_due(fault):
                await self._act(fault, point)

    def is_armed(self, point: str, side: Place) -> bool:
        return any(fits(fault, point, side) for fault in self.orders.faults)

    def _is_due(self, fault: PointFault) -> bool:
        if fault.times is not None and self._fired[fault.id] >= fault.times:
            return False
        self._passed[fault.id] += 1
        return self._passed[fault.id] > fault.skip and random.random() < fault.rate

    async def _act(self, fault: PointFault, point: str) -> None:
        self._fired[fault.id] += 1
        self._note(fault.id, point, fault.side)
        match fault.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise _error(fault, point)
            case "sleep":
                await asyncio.sleep(fault.seconds)

    def _note(self, fault_id: str, point: str, side: Place) -> None:
        fired = Fired(
            id=fault_id,
            role=self._role,
            pid=os.getpid(),
            point=point,
            side=side,
            at=time.time(),
        )
        os.write(self._log, msgspec.json.encode(fired) + b"\n")


def fits(fault: PointFault, point: str, side: str) -> bool:
    return fault.side == side and fnmatch.fnmatchcase(point, fault.point)


async def torn(data: bytes | AsyncIterator[bytes], hook: PointHook, point: str) -> Any:
    """The bytes of a put, with `point` reached half-way."""
    if isinstance(data, bytes):
        data = _halves(data)
    began = False
    async for piece in data:
        yield piece
        if not began:
            began = True
            await hook.reached(point, "during")


async def _halves(data: bytes) -> AsyncIterator[bytes]:
    middle = len(data) // 2
    yield data[:middle]
    yield data[middle:]


def _error(fault: PointFault, point: str) -> Exception:
    """As the adapter's caller would see it, or the adapter's library would raise it."""
    said = f"a fault at {point}"
    match fault.error, fault.side:
        case "full", "during":
            return OSError(errno.ENOSPC, said)
        case "blob", "during":
            return OSError(errno.EIO, said)
        case "full", _:
            return BlobStoreFullError(said)
        case "bus", _:
            return nats.errors.TimeoutError(said)
        case "database", _:
            return OperationalError(said, None, ConnectionError(said))
        case _:
            return BlobUnavailableError(said)
