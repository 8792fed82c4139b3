"""Two schedulers, one lease: the holder is killed, suspended or cut off, and the other takes over.

With the default lease, as users have it, within 15 s; measured from the blow to the row's change.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from batch_common import config
from batch_common.config_file import dump_config
from batch_common.state import BatchStatus
from batch_common.tables import leases
from support.fake_runner import FakeRunner
from support.nats_process import NatsProcess
from support.tcp_proxy import TcpProxy
from support.wait import until

from .conftest import House, request_line

LIMIT_S = 15.0
LINES = 120


class Member:
    """A scheduler as a process, with a proxy of its own before NATS."""

    def __init__(self, house: House, proxy: TcpProxy, name: str) -> None:
        self.proxy = proxy
        self.log = house.folder / f"{name}.log"
        environment = {**os.environ, "VLLM_BATCH_NATS__URL": proxy.url}
        command = [sys.executable, "-m", "batch_cli", "scheduler", "--config", _config(house)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def said(self, what: str) -> bool:
        return what in self.log.read_text("utf-8")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


def _config(house: House) -> Path:
    settings = msgspec.structs.replace(
        house.config,
        scheduler=msgspec.structs.replace(
            house.config.scheduler, lease_ttl_s=config.Scheduler().lease_ttl_s
        ),
    )
    path = house.folder / "pair.yml"
    path.write_text(dump_config(settings))
    return path


@pytest.fixture
async def pair(house: House, nats_process: NatsProcess) -> AsyncIterator[list[Member]]:
    members: list[Member] = []
    for name in ("one", "other"):
        proxy = TcpProxy(nats_process.port)
        await proxy.start()
        members.append(Member(house, proxy, name))
    yield members
    for member in members:
        member.end()
        await member.proxy.stop()


async def holder(house: House) -> int:
    """Its pid; 0 while nobody holds the lease."""
    async with house.database.read() as conn:
        row = (await conn.execute(select(leases))).first()
    return int(row.holder.split(":")[1]) if row is not None else 0


def hurt(member: Member, how: str) -> None:
    match how:
        case "killed":
            member.process.kill()
        case "suspended":
            member.process.send_signal(signal.SIGSTOP)
        case "cut off":
            member.proxy.silence()


def heal(member: Member, how: str) -> None:
    match how:
        case "suspended":
            member.process.send_signal(signal.SIGCONT)
        case "cut off":
            member.proxy.restore()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["killed", "suspended", "cut off"])
async def test_a_standby_takes_over_and_nothing_is_done_twice(
    house: House,
    pair: list[Member],
    serving: Callable[..., Awaitable[FakeRunner]],
    how: str,
) -> None:
    """The zombie that comes back finds its lease gone, and every row it wants to move moved."""
    await until(lambda: _any(house), what="a holder", within_s=60)
    first = await holder(house)
    [old] = [member for member in pair if member.process.pid == first]
    lines = [request_line(str(n)) for n in range(LINES)]
    begun = await house.submit_lines(*lines)
    await house.reached(begun, BatchStatus.IN_PROGRESS)
    # On SQLite a process that is suspended in mid-transaction holds the file's lock until it goes
    # on or dies, and nobody can help that; so have the lock ourselves at that moment.
    async with house.database.write("in a test"):
        hurt(old, how)
    struck_at = time.monotonic()
    await serving("m")

    async def taken() -> bool:
        return await holder(house) not in {0, first}

    await until(taken, within_s=LIMIT_S, what="a standby that takes over")
    print(f"\nholder {how}: a standby took over after {time.monotonic() - struck_at:.1f} s")
    later = await house.submit_lines(*lines)
    heal(old, how)
    for batch_id in (begun, later):
        batch = await house.ended(batch_id, within_s=60)
        assert batch.status == BatchStatus.COMPLETED
        assert batch.completed == LINES
        output, errors = await house.outcome(batch)
        assert output == sorted(str(n) for n in range(LINES))
        assert not errors
    if how != "killed":
        await until(lambda: old.said("lease_lost"), what="the old holder to notice")
        assert await holder(house) != first


async def _any(house: House) -> bool:
    return await holder(house) != 0
