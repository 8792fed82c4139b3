"""Validation as a user sees it: the batch object afterwards."""

from typing import Any

import pytest
from sqlalchemy import select, update

from batch_common import clock, config
from batch_common.formats.content import Content, Part, encode_content
from batch_common.keys import file_content
from batch_common.presence import withdraw
from batch_common.state import BatchStatus
from batch_common.tables import deliveries, files, spans
from batch_scheduler.examiner import IN_THREAD_BYTES
from support.fake_runner import CHAT, FakeRunner
from support.wait import until

from .conftest import House, request_line

# What happens before any row is written is the same for every database.
one_database = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)


async def failed(house: House, batch_id: str) -> list[dict[str, Any]]:
    batch = await house.ended(batch_id)
    assert batch.status == BatchStatus.FAILED
    assert batch.failed_at
    assert (batch.total, batch.in_progress_at, batch.output_file_id) == (0, None, None)
    errors: list[dict[str, Any]] = batch.errors
    return errors


async def test_all_bad_lines_are_told_at_once(house: House) -> None:
    house.start_scheduler()
    good = request_line("a")
    lines = [
        good,
        b"{nonsense\n",
        b"\n",
        request_line("b").replace(b"/v1/chat/completions", b"/chat/completions"),
        request_line("c", model="gpt\x00"),
        request_line("d").replace(b'"messages"', b'"stream": true, "m"'),
        good,
        request_line("e").replace(b"hello", b"\xff"),
        request_line("f").replace(b"POST", b"GET"),
        request_line("n\x00l"),
        request_line("n\x00l"),
    ]
    found = await failed(house, await house.submit_lines(*lines))
    assert [(e["code"], e["param"], e["line"]) for e in found] == [
        ("invalid_json_line", None, 2),
        ("invalid_url", "url", 4),
        ("model_not_found", "body.model", 5),
        ("missing_required_parameter", "body.messages", 6),
        ("streaming_unsupported", "body.stream", 6),
        ("duplicate_custom_id", "custom_id", 7),
        ("invalid_json_line", None, 8),
        ("invalid_method", "method", 9),
        ("duplicate_custom_id", "custom_id", 11),
    ]
    async with house.database.read() as conn:
        [row] = await conn.execute(select(deliveries))
        assert row.event_type == "batch.failed"
        assert not (await conn.execute(select(spans))).all()


@one_database
async def test_no_more_than_some_thousand_errors_are_kept(house: House) -> None:
    house.start_scheduler()
    found = await failed(house, await house.submit_lines(b"x\n" * 10_003))
    assert len(found) == 10_001
    assert found[-2]["line"] == 10_000
    assert (found[-1]["code"], found[-1]["line"]) == ("more_errors", None)
    assert found[-1]["message"].startswith("3 more errors")


@one_database
@pytest.mark.parametrize(
    "columns",
    [
        {"tenant": "other"},
        {"purpose": "user_data"},
        {"deleted_at": 1},
        {"expires_at": 1},
        None,
    ],
    ids=["foreign", "purpose", "deleted", "expired", "unknown"],
)
async def test_a_file_that_is_not_the_tenants_cannot_be_found(
    house: House, columns: dict[str, Any] | None
) -> None:
    house.start_scheduler()
    file_id = "file-unknown"
    if columns is not None:
        file_id = await house.upload(request_line("a"), **columns)
    assert await failed(house, await house.submit(file_id)) == [
        {
            "code": "invalid_request",
            "message": f"Cannot find file {file_id}, or organization t does not have access to it.",
            "param": "file_id",
            "line": None,
        }
    ]


@one_database
async def test_a_file_whose_bytes_are_gone_fails_its_batch(house: House) -> None:
    house.start_scheduler()
    for composed in (False, True):
        file_id = await house.upload(request_line("a"), composed=composed)
        await house.blobs.delete([file_content(file_id)])
        [error] = await failed(house, await house.submit(file_id))
        assert (error["code"], error["param"]) == ("input_unavailable", "file_id")
    torn = await house.upload(request_line("a"), bytes=10_000)
    [error] = await failed(house, await house.submit(torn))
    assert error["code"] == "input_unavailable"


@one_database
async def test_limits_are_those_of_the_configuration(house: House) -> None:
    house.start_scheduler(limits=config.Limits(max_requests=3, max_batch_file_bytes=1000))
    many = await house.submit_lines(*[request_line(f"{n}", text="") for n in range(4)])
    assert [e["code"] for e in await failed(house, many)] == ["too_many_requests"]
    large = await house.submit_lines(request_line("a", text="x" * 1000))
    assert [e["code"] for e in await failed(house, large)] == ["file_too_large"]
    fine = await house.submit_lines(*[request_line(f"{n}", text="") for n in range(3)])
    await house.reached(fine, BatchStatus.IN_PROGRESS)


@one_database
async def test_an_endpoint_that_no_runner_of_the_model_has_fails_the_batch(
    house: House, runner: FakeRunner
) -> None:
    house.start_scheduler()
    waiting = await house.submit_lines(request_line("a"))
    await house.reached(waiting, BatchStatus.IN_PROGRESS)
    await runner.announce("/v1/embeddings")
    [error] = await failed(house, await house.submit_lines(request_line("a")))
    assert (error["code"], error["param"]) == ("unsupported_endpoint", "endpoint")
    assert CHAT in error["message"]
    assert "/v1/embeddings" in error["message"]


async def test_a_model_once_announced_stays_known(house: House, runner: FakeRunner) -> None:
    runner.model = "announced"
    house.start_scheduler()
    unknown = await house.submit_lines(request_line("a", model="announced"))
    assert [e["code"] for e in await failed(house, unknown)] == ["model_not_found"]
    await runner.announce()

    async def accepted() -> bool:
        batch_id = await house.submit_lines(request_line("a", model="announced"))
        batch = await house.reached(batch_id, BatchStatus.IN_PROGRESS, BatchStatus.FAILED)
        return bool(batch.status == BatchStatus.IN_PROGRESS)

    await until(accepted, what="the announced model")
    await withdraw(runner.bus, runner.name)
    await house.stop_schedulers()
    house.start_scheduler()
    assert await accepted()


@one_database
async def test_a_file_of_several_parts_is_one_input(house: House) -> None:
    house.start_scheduler()
    text = b"".join(request_line(f"a{n}") for n in range(5))[:-1]
    parts = (text[:100], text[100:333], text[333:])
    keys = [f"uploads/u/{n}" for n in range(3)]
    for key, piece in zip(keys, parts, strict=True):
        await house.blobs.put(key, piece)
    content = Content(tuple(Part(k, len(p)) for k, p in zip(keys, parts, strict=True)))
    file_id = await house.upload(b"", bytes=len(text), composed=True)
    await house.blobs.put(file_content(file_id), encode_content(content))
    batch = await house.reached(await house.submit(file_id), BatchStatus.IN_PROGRESS)
    assert batch.total == 5


@one_database
async def test_a_file_deleted_in_mid_run_is_not_missed(house: House, runner: FakeRunner) -> None:
    house.start_scheduler()
    file_id = await house.upload(request_line("a"))
    batch_id = await house.submit(file_id)
    await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    async with house.database.write("in a test") as conn:
        await conn.execute(
            update(files).where(files.c.id == file_id).values(deleted_at=clock.timestamp())
        )
    await house.blobs.delete([file_content(file_id)])
    await runner.do(await runner.taken())
    assert (await house.ended(batch_id)).completed == 1


@one_database
async def test_a_scheduler_killed_in_mid_validation_leaves_nothing_behind(house: House) -> None:
    """The next one starts from the input; spools have no name and are gone with the process."""
    count = IN_THREAD_BYTES // 400
    lines = [request_line(f"a{n}", text="x" * 400) for n in range(count)]
    batch_id = await house.submit_lines(*lines)
    settings = config.Limits(max_requests=count)
    house.start_process(limits=settings)
    spool = house.folder / "spool"
    await until(spool.exists, what="the spool")
    house.kill_processes()
    assert (await house.batch(batch_id)).status == BatchStatus.VALIDATING
    assert list(spool.iterdir()) == []
    house.start_scheduler(limits=settings)
    batch = await house.reached(batch_id, BatchStatus.IN_PROGRESS)
    assert batch.total == count
