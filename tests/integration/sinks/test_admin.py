"""How sinks stand, and new tries for what was given up or waits."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import update

from batch_cli.main import main
from batch_common import clock
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.tables import deliveries
from batch_sinks.admin import Redriven, SinkSummary, redrive, summarise
from support.receiver import Receiver
from support.wait import until

from .conftest import EndBatch, FindRow, InState, Serve, Settings, on_sqlite


async def test_what_was_given_up_is_delivered_after_a_redrive(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    database: Database,
) -> None:
    receiver.answer = lambda _: receiver.plain(500)
    async with serve(retry_for_s=0.001):
        batch_id, other = await end_batch(), await end_batch()
        await until(in_state("failed", batch_id, other))
    [summary] = await summarise(database)
    assert summary == SinkSummary(sink="webhook", failed=2, last_error="the receiver answered 500")
    receiver.answer = lambda _: receiver.plain(200)
    assert await redrive(database, sink="s3") == []
    assert await redrive(database, batch_ids=["batch_unknown"]) == []
    assert await redrive(database, sink="webhook", batch_ids=[batch_id]) == [
        Redriven(batch_id, "webhook", "", given_up=True)
    ]
    [summary] = await summarise(database)
    assert (summary.pending, summary.failing, summary.failed) == (1, 1, 1)
    async with serve(retry_for_s=0.001):
        await until(in_state("delivered", batch_id))
    assert (await find_row(other)).state == "failed"
    first, *_, last = (p for p in receiver.posts if batch_id.encode() in p.body)
    assert first.webhook_id == last.webhook_id
    [summary] = await summarise(database)
    assert (summary.delivered, summary.failed) == (1, 1)


async def test_one_that_fails_again_has_its_whole_time_again(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    database: Database,
) -> None:
    """Its batch ended long ago, and it had been tried so often that the pauses were long."""
    receiver.answer = lambda _: receiver.plain(500)
    async with serve(retry_for_s=0.001):
        batch_id = await end_batch()
        await until(in_state("failed", batch_id))
    async with database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(attempts=90, created_at=clock.now() - 9e6))
    await redrive(database)
    posts = len(receiver.posts)
    async with serve(retry_for_s=60.0):
        await until(lambda: len(receiver.posts) >= posts + 2, what="two more tries")
        assert (await find_row(batch_id)).state == "pending"
        receiver.answer = lambda _: receiver.plain(200)
        await until(in_state("delivered", batch_id))
    assert (await find_row(batch_id)).attempts > 92


@on_sqlite
async def test_what_waits_for_its_next_try_need_wait_no_longer(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    database: Database,
) -> None:
    waiting, claimed = await end_batch(sinks=("webhook",)), await end_batch(sinks=("webhook",))
    now = clock.now()
    async with database.write("in a test") as conn:
        late = update(deliveries).values(next_at=now + 3000, attempts=12, last_error="away")
        await conn.execute(late)
        mine = update(deliveries).where(deliveries.c.batch_id == claimed)
        await conn.execute(mine.values(claimed_until=now + 20))
    moved = await redrive(database)
    assert moved == [Redriven(waiting, "webhook", "", given_up=False)]
    assert (await find_row(claimed)).claimed_until == now + 20
    async with serve():
        await until(in_state("delivered", waiting))
    assert await redrive(database, batch_ids=[waiting]) == []


@on_sqlite
async def test_the_commands(
    settings: Settings,
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    in_state: InState,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    receiver.answer = lambda _: receiver.plain(500)
    async with serve(retry_for_s=0.001):
        batch_id = await end_batch()
        await until(in_state("failed", batch_id))
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings()))
    capsys.readouterr()
    listing = ["sinks", "list", "--data-dir", str(tmp_path)]

    async def run(*words: str) -> str:
        """In a thread, since it has an event loop of its own."""
        assert await asyncio.to_thread(main, words) == 0
        return capsys.readouterr().out

    heading, row = (await run(*listing)).splitlines()
    assert heading.split() == [
        *("SINK", "PENDING", "FAILING", "DELIVERED", "FAILED", "SKIPPED", "LAST", "ERROR")
    ]
    assert row.split(maxsplit=6) == ["webhook", *"00010", "the receiver answered 500"]
    assert json.loads(await run("sinks", "--config", str(path), "list", "--json"))["failed"] == 1
    words = ("sinks", "redrive", "--config", str(path))
    assert await run(*words, batch_id) == f"{batch_id} webhook\n"
    assert await run(*words, "--sink", "webhook") == ""  # it is pending, and due
    assert json.loads(await run(*listing, "--json"))["pending"] == 1


async def test_names_that_there_are_not(
    database: Database,
    end_batch: EndBatch,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    batch_id = await end_batch(sinks=("elsewhere",))
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings()))
    words = ["sinks", "redrive", "--config", str(path)]
    assert await asyncio.to_thread(main, [*words, "--sink", "webhok"]) == 1
    said = capsys.readouterr().err
    assert "there is no sink 'webhok' in " in said
    assert said.endswith(": there are elsewhere, webhook\n")
    assert await asyncio.to_thread(main, [*words, batch_id, "batch_x"]) == 1
    assert "has no deliveries of batch_x: " in capsys.readouterr().err
    assert await asyncio.to_thread(main, [*words, "--sink", "elsewhere", batch_id]) == 0


@on_sqlite
async def test_an_empty_list_says_where_it_looked(
    database: Database,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings()))
    assert await asyncio.to_thread(main, ["sinks", "list", "--config", str(path)]) == 0
    assert f"no deliveries yet in the data folder {tmp_path}" in capsys.readouterr().err


def test_a_data_dir_without_a_database_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sinks", "list", "--data-dir", str(tmp_path)]) == 1
    assert "there is no database in" in capsys.readouterr().err
