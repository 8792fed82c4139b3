"""Who is running, through the `runners` bucket of a real nats-server."""

import pytest

from batch_common import presence
from batch_common.bus import Bus
from batch_common.errors import BusUnavailableError
from batch_common.events import ModelState, RunnerState
from batch_common.subjects import RUNNERS_BUCKET
from support.nats_process import NatsProcess
from support.wait import until


def state(runner: str, **changes: object) -> RunnerState:
    values = {"engine": "sim", "status": "ready", "models": ()}
    return RunnerState(runner=runner, **{**values, **changes})


async def test_nobody_is_there_at_first(bus: Bus) -> None:
    assert await presence.present(bus) == []


async def test_the_last_word_of_each_runner_counts(bus: Bus) -> None:
    models = (ModelState(name="a/b", endpoints=("/v1/embeddings",), tokens_per_s=2.5),)
    await presence.announce(bus, state("host-1", status="starting"))
    await presence.announce(bus, state("host-2"))
    await presence.announce(bus, state("host-1", models=models))
    found = {runner.runner: runner for runner in await presence.present(bus)}
    assert found == {"host-1": state("host-1", models=models), "host-2": state("host-2")}


async def test_a_runner_that_leaves_is_gone_at_once(bus: Bus) -> None:
    await presence.announce(bus, state("host-1"))
    await presence.withdraw(bus, "host-1")
    await presence.withdraw(bus, "host-never-there")
    assert await presence.present(bus) == []


async def test_an_entry_nobody_can_read_hides_no_other(bus: Bus) -> None:
    await presence.announce(bus, state("host-1"))
    bucket = await bus.js.key_value(RUNNERS_BUCKET)
    await bucket.put("host-2", b"another release wrote this")
    assert [runner.runner for runner in await presence.present(bus)] == ["host-1"]


async def test_silent_runners_are_forgotten_by_the_server(bus: Bus) -> None:
    status = await (await bus.js.key_value(RUNNERS_BUCKET)).status()
    assert status.ttl == 15.0


async def test_after_a_lost_store_the_next_announcement_makes_the_bucket(
    bus: Bus, nats_process: NatsProcess
) -> None:
    await presence.announce(bus, state("host-1"))
    await nats_process.lose_store()
    await until(lambda: bus.epoch > 0, what="a reconnection")
    assert await presence.present(bus) == []
    await presence.announce(bus, state("host-1"))
    assert [runner.runner for runner in await presence.present(bus)] == ["host-1"]


async def test_without_a_server_it_says_so(bus: Bus, nats_process: NatsProcess) -> None:
    await nats_process.stop()
    with pytest.raises(BusUnavailableError, match="list the runners"):
        await presence.present(bus)
