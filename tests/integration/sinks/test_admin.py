"""How sinks stand, and one more try for what was given up."""

import asyncio
import json
from pathlib import Path

import pytest

from batch_cli.main import main
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_sinks.admin import SinkSummary, redrive, summarise
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
    assert await redrive(database, sink="webhook", batch_ids=[batch_id]) == [(batch_id, "webhook")]
    [summary] = await summarise(database)
    assert (summary.pending, summary.failing, summary.failed) == (1, 1, 1)
    async with serve(retry_for_s=0.001):
        await until(in_state("delivered", batch_id))
    assert (await find_row(other)).state == "failed"
    first, *_, last = (p for p in receiver.posts if batch_id.encode() in p.body)
    assert first.webhook_id == last.webhook_id
    [summary] = await summarise(database)
    assert (summary.delivered, summary.failed) == (1, 1)


@on_sqlite
async def test_one_that_fails_again_is_given_up_again(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState, database: Database
) -> None:
    receiver.answer = lambda _: receiver.plain(500)
    async with serve(retry_for_s=0.001):
        batch_id = await end_batch()
        await until(in_state("failed", batch_id))
        posts = len(receiver.posts)
        await redrive(database)
        await until(lambda: len(receiver.posts) == posts + 1, what="one more try")
        await until(in_state("failed", batch_id))


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
    assert await run("sinks", "redrive", "--config", str(path), batch_id) == f"{batch_id} webhook\n"
    assert json.loads(await run(*listing, "--json"))["pending"] == 1


def test_a_data_dir_without_a_database_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sinks", "list", "--data-dir", str(tmp_path)]) == 1
    assert "there is no database in" in capsys.readouterr().err
