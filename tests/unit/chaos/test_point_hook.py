"""Orders reach a process while it runs, fire as often as they say, and are known to have fired."""

import os
import subprocess
import sys
from pathlib import Path

import nats.errors
import pytest

from batch_common import crash_points, relay
from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Blobs
from batch_common.errors import BlobStoreFullError, BlobUnavailableError
from chaos.control import Control, PointFault
from chaos.point_hook import PointHook, torn
from chaos.service_main import set_constants

TESTS = Path(__file__).parents[2]


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control", "scheduler")


@pytest.fixture
def hook(control: Control) -> PointHook:
    return PointHook(control.folder, control.role)


async def test_fires_as_often_as_it_says_over_restarts(control: Control, hook: PointHook) -> None:
    fault = control.arm(
        PointFault(point="put *", action="raise", error="full", times=2, skip=1, side="after")
    )
    await hook.reached("put file", "after")
    await hook.reached("put file", "before")
    await hook.reached("delete file", "after")
    with pytest.raises(BlobStoreFullError):
        await hook.reached("put plan", "after")
    restarted = PointHook(control.folder, control.role)
    await restarted.reached("put plan", "after")
    with pytest.raises(BlobStoreFullError):
        await restarted.reached("put segment", "after")
    await restarted.reached("put segment", "after")
    assert [fired.point for fired in control.fired(fault)] == ["put plan", "put segment"]


async def test_orders_change_while_the_process_runs(control: Control, hook: PointHook) -> None:
    await hook.reached("ack CHUNKS", "before")
    fault = control.arm(PointFault(point="ack CHUNKS", action="raise", error="bus", times=None))
    for _ in range(2):
        with pytest.raises(nats.errors.TimeoutError):
            await hook.reached("ack CHUNKS", "before")
    control.step_clock(-3600.0)
    assert hook.orders.clock_offset_s == -3600.0
    control.disarm(fault)
    await hook.reached("ack CHUNKS", "before")
    assert len(control.fired(fault)) == 2
    assert len(control.clock_steps()) == 1


async def test_a_torn_put_leaves_no_object(
    control: Control, hook: PointHook, tmp_path: Path
) -> None:
    blobs = open_blobs(Blobs(), tmp_path)
    control.arm(PointFault(point="put file", side="during", action="raise", error="full"))
    control.arm(PointFault(point="put file", side="during", action="raise", error="blob"))
    for error in (BlobStoreFullError, BlobUnavailableError):
        with pytest.raises(error):
            await blobs.put("files/a", torn(b"half and half", hook, "put file"))
    assert await blobs.list("files/") == []
    assert await blobs.put("files/a", torn(b"half and half", hook, "put file")) == 13
    assert await blobs.get("files/a") == b"half and half"


def test_a_process_gets_its_clock_its_constants_and_dies_at_its_point(tmp_path: Path) -> None:
    """In one of its own: a mutated batch_common would be everybody's here."""
    control = Control(tmp_path / "control", "gateway")
    control.step_clock(3600.0)
    control.set_constants({"batch_common.relay:_AUDIT_S": 0.5})
    fault = control.arm(PointFault(point="put file"))
    program = f"""
import asyncio, time
from pathlib import Path
from chaos.service_main import take_over
take_over(Path({str(control.folder)!r}), "gateway")
from batch_common import clock, relay
from batch_common.blobs import open_blobs
from batch_common.config import Blobs
assert 3590 < clock.now() - time.time() < 3610
assert 3590 < clock.timestamp() - time.time() < 3610
assert relay._AUDIT_S == 0.5
print("alive", flush=True)
asyncio.run(open_blobs(Blobs(), Path({str(tmp_path)!r})).put("files/a", b"x"))
print("still alive", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert (done.returncode, done.stdout) == (-9, "alive\n"), done.stderr
    assert [(f.point, f.side) for f in control.fired(fault)] == [("put file", "before")]


def test_a_constant_that_is_gone_is_said() -> None:
    with pytest.raises(LookupError, match="_GONE_S"):
        set_constants({"batch_common.relay:_GONE_S": 1.0})
    assert relay._AUDIT_S > 1
    assert crash_points._hook is None
    assert BlobStore.put.__name__ == "put"
