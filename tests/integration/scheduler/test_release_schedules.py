"""Whatever is released when, by whom and at which rates: every line is in exactly one chunk."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.config import Scheduler
from batch_common.events import ModelState, RunnerState
from batch_common.formats.plan import read_index
from batch_common.keys import plan_index, plan_input
from batch_scheduler.close import close
from batch_scheduler.release import Releaser
from support.examples import TIMEOUT_S, examples
from support.world import template
from support.world.attempts import Attempt
from support.world.world import MODELS, World

LINES = st.lists(st.tuples(st.sampled_from(MODELS), st.booleans()), min_size=1, max_size=30)
LIMITS = st.builds(
    Scheduler,
    chunk_max_requests=st.integers(1, 8),
    chunk_max_bytes=st.sampled_from([170, 400, 5000]),
    chunk_first_requests=st.integers(1, 5),
    chunks_per_runner=st.integers(1, 3),
    spool_bytes=st.sampled_from([200, 700, 1 << 20]),
)
RUNNERS = st.lists(st.none() | st.floats(0.01, 1000), max_size=4)
TURNS = st.lists(
    st.tuples(st.sampled_from(["release", "race", "restart", "work"]), RUNNERS), max_size=12
)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template.make(tmp_path_factory.mktemp("template"))


@given(LINES, LIMITS, TURNS, st.booleans())
@examples(25)
@pytest.mark.timeout(TIMEOUT_S)
def test_every_line_is_in_one_chunk(
    migrated: Path,
    lines: list[tuple[str, bool]],
    limits: Scheduler,
    turns: list[tuple[str, list[float | None]]],
    cancelled: bool,
) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copy(migrated, Path(folder) / "batches.db")
        asyncio.run(_released(World(Path(folder), limits), lines, turns, cancelled))


async def _released(
    world: World, lines: list[tuple[str, bool]], turns: list, cancelled: bool
) -> None:
    batch_id = await world.submit(lines)
    await world.schedulers[0].validate()
    for turn, rates in turns:
        _see(world, rates)
        await _take_turn(world, turn)
    if cancelled:
        await world.cancel(batch_id)
    _see(world, [])
    for _ in range(100):
        await _take_turn(world, "work")
        await close(world.schedulers[0].context)
        if all(span.next_line == span.end_line for span in world.rows("spans")):
            break
    await _check(world, batch_id, lines)
    await world.close()


def _see(world: World, rates: list[float | None]) -> None:
    """Runners of every model, with the rates they announce."""
    states = [
        RunnerState(
            runner=f"r{number}",
            engine="sim",
            models=tuple(
                ModelState(name=name, endpoints=(), requests_per_s=rate) for name in MODELS
            ),
            status="ready",
        )
        for number, rate in enumerate(rates)
    ]
    for scheduler in world.schedulers:
        scheduler.context.fleet.looked(states)


async def _take_turn(world: World, turn: str) -> None:
    one, other = world.schedulers
    match turn:
        case "release":
            await one.releaser.release()
        case "race":
            await asyncio.gather(one.releaser.release(), other.releaser.release())
        case "restart":
            one.releaser = Releaser(one.context)
            await one.releaser.release()
        case "work":
            await one.releaser.release()
            await one.relay.send_page()
            await _settle_all(world)


async def _settle_all(world: World) -> None:
    """A good runner: what is offered is done, and committed."""
    for message in list(world.streams.ready.values()):
        attempt = Attempt(world.streams, world.blobs, message)
        await attempt.begin()
        await attempt.save(100)
        await attempt.finish()
    while world.streams.completions:
        await world.commit(world.streams.completions.pop())


async def _check(world: World, batch_id: str, lines: list[tuple[str, bool]]) -> None:
    """Chunks follow one another through the plan, within their limits and of one model each."""
    batch, limits = await world.batch(batch_id), world.config.scheduler
    text = await world.blobs.get(plan_input(batch_id, batch.plan))
    index = read_index(await world.blobs.get(plan_index(batch_id, batch.plan)))
    numbers: list[int] = []
    line = byte = 0
    for chunk in world.rows("chunks", "first_line"):
        assert (chunk.first_line, chunk.first_byte) == (line, byte)
        line, byte = chunk.end_line, chunk.end_byte
        inside = [json.loads(one) for one in text[chunk.first_byte : byte].splitlines()]
        numbers += [int(one["custom_id"].partition("-")[2]) for one in inside]
        assert {one["body"]["model"] for one in inside} == {chunk.model}
        assert len(inside) == line - chunk.first_line
        assert 1 <= len(inside) <= limits.chunk_max_requests
        assert byte - chunk.first_byte <= limits.chunk_max_bytes or len(inside) == 1
        assert chunk.tokens == index["tokens"][chunk.first_line : line].sum()
    assert (line, byte) == (len(lines), len(text))
    assert sorted(numbers) == list(range(len(lines)))
    assert [number + 1 for number in numbers] == index["line"].tolist()
