"""Orphans are collected, and never anything that somebody still needs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest
from sqlalchemy import insert, update

from batch_common import clock, crash_points, keys
from batch_common.clock import now
from batch_common.crash_points import Side
from batch_common.formats.content import Content, Part, encode_content
from batch_common.ids import new_id
from batch_common.state import BatchStatus
from batch_common.tables import files, uploads
from batch_scheduler.collect import collect
from batch_scheduler.context import Context
from batch_scheduler.ownership import is_shared, register
from support.fake_runner import FakeRunner
from support.wait import until

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]
CrashHook = Callable[[crash_points.Hook], None]
ALL = float("inf")


async def keys_of(house: House) -> set[str]:
    return {info.key for folder in keys.FOLDERS for info in await house.blobs.list(folder)}


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_at_no_moment_of_a_batchs_life_anything_needed_goes(
    house: House, context: Context, serving: Serving, crash_hook: CrashHook, end: str
) -> None:
    """Collected before and after every commit, put, publish and ack, whatever the age."""
    turn = asyncio.Lock()
    collecting = ContextVar("collecting", default=False)
    moments: set[str] = set()

    async def collect_here(name: str, side: Side) -> None:
        if collecting.get() or (name.startswith("commit ") and side is Side.BEFORE):
            return  # a commit that waited here would hold its locks
        async with turn:
            token = collecting.set(True)
            await collect(context, ALL)
            collecting.reset(token)
            moments.add(f"{name} {side}")

    house.start_scheduler()
    ids = [f"a{n}" for n in range(45)] + ["bad1", "bad2"]
    file_id = await house.upload(b"".join(map(request_line, ids)))
    crash_hook(collect_here)
    batch_id = await house.submit(file_id)
    await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    if end == "cancelled":
        await house.cancel(batch_id)
    await serving()
    batch = await house.ended(batch_id, within_s=60)
    assert batch.status == end
    wanted = {"put plan after", "commit batch start after", "put chunk errors after"}
    wanted |= {"put results before", "commit batch end after"}
    await until(lambda: moments >= wanted, what="every moment")
    await collect(context, ALL)
    output, errors = await house.outcome(batch)
    assert sorted(output + errors) == sorted(ids)


async def test_orphans_of_every_kind_go(house: House, context: Context, serving: Serving) -> None:
    """What killed gateways, validators that were overtaken and zombie runners leave."""
    house.start_scheduler()
    await serving()
    lines = [request_line(f"a{n}") for n in range(12)] + [request_line("bad")]
    batch = await house.ended(await house.submit_lines(*lines))

    async def swept() -> bool:
        return all(c.swept_at for c in await house.chunks(batch.id))

    await until(swept, what="the sweep")
    await house.stop_schedulers()
    running = await house.submit_lines(request_line("a"))
    hidden = await house.upload(b"coming in", deleted_at=clock.timestamp(), purpose="")
    [chunk, *_] = await house.chunks(batch.id)
    prefix = keys.chunk_prefix(batch.id, chunk.id)
    gone, strange = new_id("batch_"), await house.upload(b"x")
    async with house.database.write("in a test") as conn:
        purged = update(files).where(files.c.id == strange)
        await conn.execute(purged.values(deleted_at=1, purged_at=1))
    before = await keys_of(house) - {keys.file_content(strange)}
    orphans = [
        keys.file_content(strange),
        keys.file_content(new_id("file-")),
        keys.upload_part(new_id("upload_"), new_id("part_")),
        keys.plan_index(batch.id, "0" * 32),
        keys.plan_input(gone),
        keys.batch_content(gone, "output"),
        keys.segment(prefix, "att_zombie", 1),
        keys.chunk_manifest(prefix, "att_zombie"),
        keys.chunk_output(keys.chunk_prefix(gone, "chunk_1"), "att_1"),
    ]
    live = [
        keys.plan_index(running, "1" * 32),
        keys.segment(keys.chunk_prefix(running, "chunk_1"), "att_1", 1),
        "files/of-somebody-else",
        "results/elsewhere/output",
    ]
    for key in [*orphans, *live]:
        await house.blobs.put(key, b"x")
    assert await collect(context, now() - 60) == 0, "too young"
    assert await collect(context, ALL) == len(orphans)
    assert await keys_of(house) == before | set(live)
    assert keys.file_content(hidden) in before


async def test_parts_stay_as_long_as_upload_or_file(house: House, context: Context) -> None:
    upload, gone = new_id("upload_"), new_id("upload_")
    part, loose, named = (keys.upload_part(u, new_id("part_")) for u in (upload, gone, gone))
    for key in (part, loose, named):
        await house.blobs.put(key, b"x")
    async with house.database.write("in a test") as conn:
        await conn.execute(
            insert(uploads).values(
                id=upload,
                tenant="t",
                bytes=1,
                filename="f",
                mime_type="m",
                purpose="batch",
                status="pending",
                created_at=1,
                expires_at=clock.timestamp() + 60,
            )
        )
    file_id = await house.upload(b"", composed=True)
    content = encode_content(Content((Part(named, 1),)))
    await house.blobs.put(keys.file_content(file_id), content)
    assert await collect(context, ALL) == 1
    assert {part, named} <= await keys_of(house)
    assert loose not in await keys_of(house)


async def test_a_store_that_another_database_uses_is_left_alone(
    house: House, context: Context
) -> None:
    await register(context)
    await register(context)
    assert len(await house.blobs.list(keys.INSTALLATIONS)) == 1
    assert not await is_shared(context)
    orphan = keys.file_content(new_id("file-"))
    await house.blobs.put(orphan, b"theirs")
    await house.blobs.put(keys.installation("inst_other"), b"")
    assert await collect(context, ALL) == 0
    assert orphan in await keys_of(house)
    await house.blobs.delete([keys.installation("inst_other")])
    assert await collect(context, ALL) == 1
