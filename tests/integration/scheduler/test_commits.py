"""Completions that come twice, wrong, or not at all."""

import msgspec
from sqlalchemy import update

from batch_common import clock, subjects
from batch_common.bus import Bus
from batch_common.formats.manifest import decode_manifest, encode_manifest
from batch_common.pull import Done
from batch_common.state import BatchStatus, ChunkState, DeliveryState
from batch_common.tables import deliveries
from support.fake_runner import FakeRunner
from support.wait import until

from .conftest import House, request_line


async def consumed(bus: Bus) -> None:
    """Every completion was handled."""

    async def empty() -> bool:
        return (await bus.stream_head(subjects.RESULTS)).messages == 0

    await until(empty, what="RESULTS to be empty")


async def test_a_second_completion_changes_nothing(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    """Redelivery after the commit, before the ack; and a second attempt's completion."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(25)))
    work = await runner.taken()
    records = await runner.results(work.ready)
    key = await runner.finish(work, records)
    await runner.publish(work, key)
    await consumed(bus)
    rival = msgspec.structs.replace(work, attempt="att_rival")
    await runner.publish(rival, await runner.finish(rival, records))
    await runner.publish(work, key, message_id="once more")
    await consumed(bus)
    batch = await house.batch(batch_id)
    lines = len(records)
    assert (batch.completed, batch.commits, batch.input_tokens) == (lines, 1, 5 * lines)
    [settled] = [c for c in await house.chunks(batch_id) if c.state != ChunkState.RELEASED]
    assert (settled.manifest_key, settled.commit_seq) == (key, 1)


async def test_a_manifest_that_does_not_cover_its_chunk_is_not_taken(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(5)))
    work = await runner.taken()
    records = await runner.results(work.ready)
    await runner.publish(work, await runner.finish(work, records[:-1]))
    await work.delivery.settle(Done())
    await consumed(bus)
    [chunk] = await house.chunks(batch_id)
    assert chunk.state == ChunkState.RELEASED
    again = await runner.taken()
    assert again.ready.generation == 2
    await runner.do(again)
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed, batch.commits) == (BatchStatus.COMPLETED, 5, 1)


async def test_a_manifest_whose_objects_are_torn_is_not_taken(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(5)))
    work = await runner.taken()
    key = await runner.finish(work, await runner.results(work.ready))
    manifest = decode_manifest(await house.blobs.get(key))
    assert manifest.output
    await house.blobs.put(manifest.output.key, b"{}\n")
    await runner.publish(work, key)
    await runner.publish(work, key + "-no-such-object", message_id="lost manifest")
    elsewhere = msgspec.structs.replace(manifest, chunk="chunk_other")
    await house.blobs.put(key + "-of-another", encode_manifest(elsewhere))
    await runner.publish(work, key + "-of-another", message_id="another")
    await consumed(bus)
    assert [c.state for c in await house.chunks(batch_id)] == [ChunkState.RELEASED]


async def test_a_lost_chunk_message_is_published_again(
    house: House, runner: FakeRunner, bus: Bus
) -> None:
    """The stream forgot it: under its old id the server would swallow a second one."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(5)))

    async def queued() -> bool:
        return (await bus.stream_head(subjects.CHUNKS)).messages == 1

    await until(queued, what="the chunk's message")
    [chunk] = await house.chunks(batch_id)
    await bus.purge(subjects.CHUNKS, subjects.chunk_ready("m", chunk.id))
    work = await runner.taken()
    assert work.ready.generation == 2
    await runner.do(work)
    assert (await house.ended(batch_id)).completed == 5


async def test_a_lost_completion_is_found_by_its_manifest(house: House, runner: FakeRunner) -> None:
    """The runner died between its ack and anything that would say so."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(5)))
    work = await runner.taken()
    assert await runner.claim(work) == "go"
    await runner.finish(work, await runner.results(work.ready))
    await work.delivery.settle(Done())
    batch = await house.ended(batch_id)
    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, 5)
    [chunk] = await house.chunks(batch_id)
    assert chunk.generation == 1


async def test_chunks_that_wait_or_are_worked_at_are_left_alone(
    house: House, runner: FakeRunner
) -> None:
    """Past the time after which a chunk without claim and message counts as lost."""
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(15)))
    work = await runner.taken()
    [_, waiting] = await house.chunks(batch_id)
    lost = msgspec.structs.replace(work, attempt="att_lost")

    async def old() -> bool:
        assert await runner.claim(work) == "go"
        return clock.now() > waiting.released_at + 4

    await until(old, what="time for repairs")
    assert [c.generation for c in await house.chunks(batch_id)] == [1, 1]
    assert await runner.claim(lost) == "busy"


async def test_segments_go_after_the_commit_and_results_stay(
    house: House, runner: FakeRunner
) -> None:
    house.start_scheduler()
    batch_id = await house.submit_lines(*(request_line(f"a{n}") for n in range(5)))
    work = await runner.taken()
    await runner.do(work)
    batch = await house.ended(batch_id)

    async def swept() -> bool:
        return all(c.swept_at for c in await house.chunks(batch_id))

    await until(swept, what="the sweep")
    left = {info.key.rpartition("/")[2] for info in await house.blobs.list(work.ready.prefix)}
    assert left == {"output.jsonl", "manifest.json"}
    assert len(await house.results(batch.output_file_id)) == 5

    async with house.database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(state=DeliveryState.DELIVERED))

    async def plan_gone() -> bool:
        return not await house.blobs.list(f"plans/{batch_id}/")

    await until(plan_gone, what="the plan's removal")
