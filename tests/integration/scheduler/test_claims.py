"""Who may work at a chunk."""

import msgspec
import pytest

from batch_common.bus import Bus
from batch_common.errors import BusUnavailableError
from batch_common.events import ChunkReady
from batch_common.state import BatchStatus
from batch_common.subjects import CHUNK_CLAIM
from support.fake_runner import FakeRunner, Work
from support.wait import until

from .conftest import House, request_line


def rival(work: Work) -> Work:
    return msgspec.structs.replace(work, attempt="att_rival")


async def in_hand(house: House, runner: FakeRunner) -> tuple[str, Work]:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(3)))
    return batch_id, await runner.taken()


async def test_a_claim_holds_a_chunk_until_it_is_let_go(house: House, runner: FakeRunner) -> None:
    _, work = await in_hand(house, runner)
    assert await runner.claim(work) == "go"
    assert await runner.claim(rival(work)) == "busy"
    assert await runner.claim(work, released=True) == "stop"
    assert await runner.claim(rival(work)) == "go"
    assert await runner.claim(work) == "busy"


async def test_a_claim_that_is_not_renewed_runs_out(house: House, runner: FakeRunner) -> None:
    _, work = await in_hand(house, runner)
    assert await runner.claim(work) == "go"

    async def free() -> bool:
        return await runner.claim(rival(work)) == "go"

    await until(free, within_s=5, what="the dead claim")


async def test_progress_never_moves_back(house: House, runner: FakeRunner) -> None:
    """A claim that is overtaken by a later one of the same attempt."""
    batch_id, work = await in_hand(house, runner)
    await runner.claim(work, completed=2, failed=1)
    await runner.claim(work, completed=1)
    [chunk] = await house.chunks(batch_id)
    assert (chunk.completed, chunk.failed, chunk.runner) == (2, 1, "r1")


async def test_a_settled_or_unknown_chunk_stops_its_runner(
    house: House, runner: FakeRunner
) -> None:
    batch_id, work = await in_hand(house, runner)
    await runner.do(work)
    await house.ended(batch_id)
    assert await runner.claim(rival(work)) == "stop"
    unknown = msgspec.structs.replace(work.ready, chunk="chunk_no")
    assert isinstance(unknown, ChunkReady)
    assert await runner.claim(Work(work.delivery, unknown, "att_1")) == "stop"


async def test_cancellation_and_expiry_stop_a_runner(house: House, runner: FakeRunner) -> None:
    batch_id, work = await in_hand(house, runner)
    assert await runner.claim(work) == "go"
    await house.expire(batch_id)
    assert await runner.claim(work) == "stop"
    batch_id = await house.submit_lines(request_line("b"))
    other = await runner.taken()
    assert await runner.claim(other) == "go"
    await house.cancel(batch_id)
    assert await runner.claim(other) == "stop"
    assert (await house.batch(batch_id)).status == BatchStatus.CANCELLING


async def test_what_is_no_claim_gets_no_answer(house: House, bus: Bus, runner: FakeRunner) -> None:
    await in_hand(house, runner)
    with pytest.raises(BusUnavailableError):
        await bus.ask(CHUNK_CLAIM, b"{}", 0.5)
