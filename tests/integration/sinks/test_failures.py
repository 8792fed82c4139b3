"""Deliveries that go wrong, and what is left when something dies."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from batch_common import clock
from batch_common.bus import Bus
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_common.events import DeliveryFailed, decode
from batch_common.subjects import DEAD
from batch_common.tables import deliveries
from support.nats_process import NatsProcess
from support.receiver import Post, Receiver
from support.wait import until

from .conftest import SECRET, EndBatch, FindRow, InState, Serve, Settings, on_sqlite

PROCESS = """
import sys
from pathlib import Path
from batch_common.config_file import load_config
from batch_common.service import run_service
from batch_sinks.app import run
sys.exit(run_service("sinks", load_config(Path(sys.argv[1])), run))
"""


async def test_a_receiver_that_is_down_is_tried_until_it_is_up(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    await receiver.stop()
    async with serve():
        batch_id = await end_batch()

        async def tried() -> bool:
            return (await find_row(batch_id)).last_error is not None

        await until(tried, what="a failed attempt")
        assert "cannot connect to 127.0.0.1" in (await find_row(batch_id)).last_error
        await receiver.start()
        await until(in_state("delivered", batch_id))
    row = await find_row(batch_id)
    assert row.attempts >= 2
    assert row.last_error is None
    assert len(receiver.posts) == 1


@on_sqlite
async def test_repeats_carry_one_id_and_fresh_signatures(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    receiver.answer = lambda _: receiver.plain(200 if len(receiver.posts) == 3 else 500)
    async with serve():
        batch_id = await end_batch()
        await until(in_state("delivered", batch_id))
    assert (await find_row(batch_id)).attempts == 3
    assert len({post.webhook_id for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1
    first, _, third = receiver.posts
    assert int(third.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert third.headers["webhook-signature"] != first.headers["webhook-signature"]


@on_sqlite
async def test_a_redirect_is_a_failure_and_is_not_followed(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    receiver.answer = lambda _: (
        receiver.plain(307, location="/elsewhere")
        if len(receiver.posts) == 1
        else receiver.plain(200)
    )
    async with serve(retry_for_s=0.001):
        batch_id = await end_batch()
        await until(in_state("failed", batch_id))
    assert [post.path for post in receiver.posts] == ["/hook"]
    assert "answered 307: redirects are not followed" in (await find_row(batch_id)).last_error


@on_sqlite
async def test_a_slow_receiver_is_given_up_in_time_and_tried_again(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, find_row: FindRow, in_state: InState
) -> None:
    errors: list[str] = []
    receiver.answer = lambda _: None if len(receiver.posts) == 1 else receiver.plain(200)
    async with serve(timeout_s=0.3):
        batch_id = await end_batch()

        async def noted() -> bool:
            errors.append((await find_row(batch_id)).last_error or "")
            return bool(errors[-1])

        await until(noted, what="the time-out")
        await until(in_state("delivered", batch_id))
    assert errors[-1] == "no answer within 0.3 s"
    assert len(receiver.posts) == 2


@on_sqlite
async def test_a_hanging_delivery_holds_up_no_other(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    first: list[Post] = []

    def answer(post: Post):
        first[:] = first or [post]
        return None if post.webhook_id == first[0].webhook_id else receiver.plain(200)

    receiver.answer = answer
    async with serve(timeout_s=2.0):
        await end_batch()
        await until(lambda: len(receiver.posts) == 1)
        others = [await end_batch() for _ in range(5)]
        await until(in_state("delivered", *others), within_s=1.5)


async def test_a_delivery_that_is_given_up_leaves_a_dead_message(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    bus: Bus,
) -> None:
    receiver.answer = lambda _: receiver.plain(503)
    async with serve(retry_for_s=1.5):
        batch_id = await end_batch("batch.expired")
        await until(in_state("failed", batch_id))
        await until(lambda: bus.holds(DEAD, "dead.webhook"), what="the dead message")
    row = await find_row(batch_id)
    message = await bus.js.get_last_msg(DEAD, "dead.webhook")
    said = decode(message.data or b"", DeliveryFailed)
    assert (said.batch_id, said.event_id, said.event_type) == (
        batch_id,
        row.event_id,
        "batch.expired",
    )
    assert said.error == row.last_error == "the receiver answered 503"
    assert said.attempts == row.attempts == len(receiver.posts) >= 2
    assert (await bus.stream_head(DEAD)).messages == 1


@on_sqlite
async def test_killed_between_post_and_row_update_it_repeats_under_the_same_id(
    settings: Settings,
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    tmp_path: Path,
) -> None:
    """Race: the receiver has the webhook, the row does not know it, the process is gone."""
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings(timeout_s=1.0)))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, path], stderr=subprocess.PIPE)
    try:
        receiver.answer = lambda _: os.kill(process.pid, signal.SIGKILL)
        batch_id = await end_batch()
        await until(lambda: process.poll() is not None, within_s=20, what="the kill")
    finally:
        process.kill()
        output = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL
    assert SECRET not in output
    row = await find_row(batch_id)
    assert (row.state, row.attempts) == ("pending", 1)
    assert row.claimed_until is not None
    receiver.answer = lambda _: receiver.plain(200)
    async with serve():
        await until(in_state("delivered", batch_id), within_s=20)
    first, second = receiver.posts
    assert first.webhook_id == second.webhook_id
    assert first.body == second.body


@pytest.mark.parametrize(
    "ahead", [{"claimed_until": 3600.0}, {"next_at": 9000.0}], ids=["claim", "pause"]
)
async def test_what_a_clock_that_was_ahead_has_written_holds_nothing_up(
    database: Database,
    serve: Serve,
    end_batch: EndBatch,
    in_state: InState,
    ahead: dict[str, float],
) -> None:
    """It was set back since, and whoever claimed the delivery may be dead."""
    batch_id = await end_batch()
    values = {name: clock.now() + by_s for name, by_s in ahead.items()}
    async with database.write("in a test") as conn:
        await conn.execute(update(deliveries).values(**values))
    async with serve():
        await until(in_state("delivered", batch_id), within_s=20)


async def test_the_row_alone_is_enough(
    serve: Serve,
    receiver: Receiver,
    end_batch: EndBatch,
    in_state: InState,
    nats_process: NatsProcess,
) -> None:
    """The whole JetStream store is lost, and then NATS itself: no event ever comes."""
    async with serve():
        first = await end_batch()
        await until(in_state("delivered", first))
        await nats_process.lose_store()
        second = await end_batch(event=False)
        await until(in_state("delivered", second))
        await nats_process.stop(signal.SIGKILL)
        third = await end_batch(event=False)
        await until(in_state("delivered", third))
        await nats_process.start()
    assert len(receiver.posts) == 3


async def test_what_ended_while_no_service_ran_is_delivered(
    serve: Serve, receiver: Receiver, end_batch: EndBatch, in_state: InState
) -> None:
    batches = [await end_batch() for _ in range(3)]
    async with serve():
        await until(in_state("delivered", *batches))
    assert len(receiver.posts) == 3


@on_sqlite
async def test_no_secret_gets_into_rows_logs_or_dead_messages(
    settings: Settings,
    receiver: Receiver,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    tmp_path: Path,
    bus: Bus,
) -> None:
    url = f"http://127.0.0.1:{receiver.port}/hook/T0ken?key=hunter3"
    receiver.answer = lambda _: receiver.broken()
    path = tmp_path / "config.yml"
    path.write_text(dump_config(settings(retry_for_s=0.001, url=url)))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, path], stderr=subprocess.PIPE)
    try:
        batch_id = await end_batch()
        await until(in_state("failed", batch_id), within_s=20)
        await until(lambda: bus.holds(DEAD, "dead.webhook"))
    finally:
        process.terminate()
        _, errors = await asyncio.to_thread(process.communicate, None, 20)
    assert process.returncode == 0
    message = await bus.js.get_last_msg(DEAD, "dead.webhook")
    everything = f"{errors.decode()} {await find_row(batch_id)} {message.data!r}"
    assert "delivery_given_up" in everything
    for secret in (SECRET, SECRET[6:], "hunter3", "T0ken"):
        assert secret not in everything
