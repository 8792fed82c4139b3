"""What happens to a system while its processes die: each story reaches some of the points.

A story ends when all of it has ended well, whoever died meanwhile; it may be told again.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import nats.js.errors

from batch_common.subjects import BATCHES, CHUNKS, DEAD
from chaos.control import PointFault
from chaos.crash_rig import MODEL, PATIENCE_S, TERMINAL, Rig, ids, lines
from support.requests import chat_line, jsonl
from support.wait import until

Story = Callable[[Rig], Awaitable[None]]

_LINES: Final = 10
# Seconds between an upload's creation and the sweep of what it has left, and some.
_UPLOAD_OVER_S: Final = 3 * 3600.0
# Beyond a third of a delivery's claim, and below the limit of an attempt.
_SLOW_S: Final = 1.7
_KEY_OVER_S: Final = 25 * 3600.0


async def plain(rig: Rig) -> None:
    """One request fails, the others do not."""
    await rig.create(await rig.upload(lines(_LINES, fails=3)))
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()


async def with_a_task_schema(rig: Rig) -> None:
    """It lies beside the plan, as the batch was given it."""
    await rig.create(await rig.upload(lines(_LINES, fails=3)), schema="classification")
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()
    lost = "SELECT count(*) FROM batches b LEFT JOIN task_schemas s ON s.id = b.task_schema"
    for batch in await rig.batches():
        assert not rig.rows(f"{lost} WHERE b.id = ? AND s.content IS NULL", batch["id"])


async def without_errors(rig: Rig) -> None:
    """Nobody will ask for a retry: the plan goes, too."""
    await rig.create(await rig.upload(lines(_LINES)))
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()


async def model_appears(rig: Rig) -> None:
    rig.rows("DELETE FROM models")
    await until(
        lambda: rig.rows("SELECT count(*) FROM models") > 0,
        within_s=PATIENCE_S,
        what="a model that is known",
    )
    await plain(rig)


async def scheduler_leaves(rig: Rig) -> None:
    await rig.create(await rig.upload(lines(_LINES)))
    await _leave(rig, "scheduler")
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()


async def runner_leaves(rig: Rig) -> None:
    """With requests at the engine, so that it hands its chunks back."""
    rig.engine_faults(mode="hang")
    batch_id = await rig.create(await rig.upload(lines(_LINES)))
    await _until_claimed(rig, batch_id)
    await _leave(rig, "runner")
    rig.engine_faults()
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()


async def finished_twice(rig: Rig) -> None:
    """The first attempt has its manifest, and nobody was told of it."""
    rig.controls["runner"].arm(PointFault(point="put chunk manifest", side="after"))
    await rig.create(await rig.upload(lines(4, fails=1)))
    await rig.ended(ids(4), "completed")
    await rig.notified()
    await rig.settled()


async def commit_fails(rig: Rig) -> None:
    rig.controls["scheduler"].arm(
        PointFault(point="commit chunk settle", action="raise", error="database")
    )
    await plain(rig)


async def chunk_message_lost(rig: Rig) -> None:
    """While the runner sleeps; it may wake up with the lost message in its hands."""
    await rig.send("runner", signal.SIGSTOP)
    try:
        batch_id = await rig.create(await rig.upload(lines(4)))
        offered = (
            "SELECT count(*) FROM chunks JOIN outbox ON outbox.message_id = chunks.id || ':1' "
            "WHERE batch_id = ? AND sent_at IS NOT NULL"
        )
        await _until_rows(rig, "a chunk that is offered", offered, batch_id)
        await rig.js(lambda js: js.purge_stream(CHUNKS))
        again = "SELECT count(*) FROM chunks WHERE batch_id = ? AND generation > 1"
        await _until_rows(rig, "a chunk that is offered again", again, batch_id)
    finally:
        await rig.send("runner", signal.SIGCONT)
    await rig.ended(ids(4), "completed")
    await rig.notified()


async def stream_lost(rig: Rig) -> None:
    await plain(rig)
    await rig.js(lambda js: js.delete_stream(BATCHES))
    wanted = rig.rows("SELECT count(*) FROM outbox WHERE stream = ?", BATCHES)

    async def there() -> bool:
        try:
            info = await rig.js(lambda js: js.stream_info(BATCHES))
        except nats.js.errors.NotFoundError:
            return False
        return bool(info.state.messages >= wanted)

    await until(there, within_s=PATIENCE_S, what=f"{wanted} events that are sent again")
    await plain(rig)


async def publish_fails(rig: Rig) -> None:
    rig.controls["gateway"].arm(
        PointFault(point="publish batch.submitted", action="raise", error="bus")
    )
    await plain(rig)


async def cancelled(rig: Rig) -> None:
    """Some lines have results, some are at the engine, some wait."""
    await rig.create(await rig.upload(lines(24, hang_from=6)))
    for batch in await rig.batches():
        await rig.until_batch(
            batch["id"], lambda b: b["request_counts"]["completed"] > 0, "a first result"
        )
        await rig.ok("POST", f"/v1/batches/{batch['id']}/cancel")
    await rig.ended(ids(24), "cancelled")
    await rig.notified()


async def expired(rig: Rig) -> None:
    await _create_late(rig, lines(24, hang_from=6), left_s=3.0)
    await rig.ended(ids(24), "expired")
    await rig.notified()


async def expired_unplanned(rig: Rig) -> None:
    """Its window ends while it is validated."""
    rig.controls["scheduler"].arm(PointFault(point="put plan", action="sleep", seconds=3.0))
    await _create_late(rig, lines(4), left_s=1.0)
    await rig.ended([], "expired")
    await rig.notified()


async def invalid(rig: Rig) -> None:
    same = [chat_line("same", f"question {n}", model=MODEL) for n in range(2)]
    await rig.create(await rig.upload(jsonl(same)))
    await rig.ended([], "failed")
    await rig.notified()
    skipped = "SELECT count(*) FROM deliveries WHERE state = 'skipped' AND batch_id = ?"
    for batch in await rig.batches():
        await _until_rows(rig, "a skipped delivery", skipped, batch["id"])


async def in_parts(rig: Rig) -> None:
    """A client that never learns that its upload was completed begins again."""
    data = lines(_LINES)
    answer = None
    while answer is None or answer.status_code != 200:
        upload = await _begin_upload(rig, len(data))
        parts = [await _add_part(rig, upload, piece) for piece in (data[:700], data[700:])]
        answer = await rig.ask("POST", f"/v1/uploads/{upload}/complete", json={"part_ids": parts})
    await rig.create(answer.json()["file"]["id"])
    await rig.ended(ids(_LINES), "completed")
    await rig.notified()


async def parts_cancelled(rig: Rig) -> None:
    upload = await _begin_upload(rig, 1000)
    await _add_part(rig, upload, b"x" * 500)
    answer = await rig.ask("POST", f"/v1/uploads/{upload}/cancel")
    assert answer.status_code in (200, 400), answer.text
    await _upload_swept(rig, upload)


async def parts_expired(rig: Rig) -> None:
    upload = await _begin_upload(rig, 1000)
    await _add_part(rig, upload, b"x" * 500)
    await _upload_swept(rig, upload)


async def file_refused(rig: Rig) -> None:
    """After its bytes were taken in."""
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", b"no JSON at all\n")}}
    answer = await rig.ask("POST", "/v1/files", **form)
    assert answer.status_code == 400, answer.text
    await _hidden_files_purged(rig)


async def files_deleted(rig: Rig) -> None:
    await plain(rig)
    for batch in await rig.batches():
        for name in ("input_file_id", "output_file_id", "error_file_id"):
            answer = await rig.ask("DELETE", f"/v1/files/{batch[name]}")
            assert answer.status_code in (200, 404), answer.text
    await _hidden_files_purged(rig)
    for batch in await rig.batches():
        await _until_gone(rig, batch["id"])
        await _until_gone(rig, batch["input_file_id"])


async def retried(rig: Rig) -> None:
    await plain(rig)
    for batch in await rig.batches():
        await rig.ok("POST", f"/v1/batches/{batch['id']}/retry")
    await rig.ended(ids(_LINES), "completed", retried=["r3"])
    await rig.notified()


async def key_forgotten(rig: Rig) -> None:
    declared = {"filename": "a.jsonl", "purpose": "batch", "bytes": 1, "mime_type": "text/plain"}
    headers = {"idempotency-key": rig.run}
    answer = await rig.ask("POST", "/v1/uploads", json=declared, headers=headers)
    assert answer.status_code == 200, answer.text
    rig.controls["gateway"].shift_time(_KEY_OVER_S)
    try:
        none = lambda: rig.rows("SELECT count(*) FROM idempotency_keys") == 0  # noqa: E731
        await until(none, within_s=PATIENCE_S, what="the end of the key")
    finally:
        rig.controls["gateway"].shift_time(0.0)


async def poison(rig: Rig) -> None:
    """One request kills the engine wherever it comes."""
    await rig.create(await rig.upload(lines(4, kills=1)))
    await rig.ended(ids(4), "completed")
    await rig.notified()


async def plan_lost(rig: Rig) -> None:
    """And its input: nobody can say what was asked, so the batch fails with what it has."""
    rig.engine_faults(mode="hang")
    file_id = await rig.upload(lines(_LINES))
    batch_id = await rig.create(file_id)
    await _until_claimed(rig, batch_id)
    rig.lose(f"files/{file_id}")
    rig.lose(f"plans/{batch_id}")
    ended = await rig.until_batch(batch_id, lambda b: b["status"] in TERMINAL, "its end")
    assert ended["status"] == "failed", ended
    assert [error["code"] for error in ended["errors"]["data"]] == ["plan_lost"]


async def webhook_endpoint(rig: Rig) -> None:
    """Made over the API, tried out, told of an end, and deleted."""
    endpoint = await _add_endpoint(rig)
    path = f"/v1/webhook_endpoints/{endpoint}"
    await rig.ok("POST", path, json={"name": "changed"})
    await rig.ok("POST", f"{path}/rotate_secret", json={})
    await rig.ok("POST", f"{path}/test", json={"event_type": "batch.completed"})
    await plain(rig)
    told = (
        "SELECT count(*) FROM deliveries WHERE sink = 'webhook_endpoint' "
        "AND state = 'delivered' AND batch_id = ?"
    )
    for batch in await rig.batches():
        await _until_rows(rig, "a delivery to the endpoint", told, batch["id"])
    answer = await rig.ask("DELETE", path)
    assert answer.status_code in (200, 404), answer.text
    there = "SELECT count(*) FROM webhook_endpoints WHERE id = ?"
    await until(
        lambda: rig.rows(there, endpoint) == 0, within_s=PATIENCE_S, what="the end of its row"
    )


async def receiver_is_slow(rig: Rig) -> None:
    rig.receiver.before_answer = lambda: asyncio.sleep(_SLOW_S)
    await plain(rig)


async def receiver_hesitates(rig: Rig) -> None:
    rig.refuse(1)
    await plain(rig)


async def receiver_refuses(rig: Rig) -> None:
    """Until the delivery is given up."""
    rig.refuse(None)
    batch_id = await rig.create(await rig.upload(lines(4)))
    await rig.ended(ids(4), "completed")
    given_up = "SELECT count(*) FROM deliveries WHERE state = 'failed' AND batch_id = ?"
    await _until_rows(rig, "a delivery that is given up", given_up, batch_id)

    async def told() -> bool:
        try:
            message = await rig.js(lambda js: js.get_last_msg(DEAD, "dead.webhook"))
        except nats.js.errors.NotFoundError:
            return False
        return batch_id.encode() in message.data

    await until(told, within_s=PATIENCE_S, what="a message on dead.webhook")


STORIES: Final[dict[str, Story]] = {
    "plain": plain,
    "with a task schema": with_a_task_schema,
    "without errors": without_errors,
    "model appears": model_appears,
    "scheduler leaves": scheduler_leaves,
    "runner leaves": runner_leaves,
    "finished twice": finished_twice,
    "commit fails": commit_fails,
    "chunk message lost": chunk_message_lost,
    "stream lost": stream_lost,
    "publish fails": publish_fails,
    "cancelled": cancelled,
    "expired": expired,
    "expired unplanned": expired_unplanned,
    "invalid": invalid,
    "in parts": in_parts,
    "parts cancelled": parts_cancelled,
    "parts expired": parts_expired,
    "file refused": file_refused,
    "files deleted": files_deleted,
    "retried": retried,
    "key forgotten": key_forgotten,
    "poison": poison,
    "plan lost": plan_lost,
    "webhook endpoint": webhook_endpoint,
    "receiver is slow": receiver_is_slow,
    "receiver hesitates": receiver_hesitates,
    "receiver refuses": receiver_refuses,
    "first start": plain,
}


async def _leave(rig: Rig, service: str) -> None:
    """SIGTERM, and its successor runs."""
    before = rig.pid(service)
    await rig.send(service, signal.SIGTERM)
    await until(
        lambda: rig.pid(service) not in (None, before), within_s=PATIENCE_S, what=f"a new {service}"
    )


async def _create_late(rig: Rig, data: bytes, left_s: float) -> None:
    """A batch whose window of a minute ends in `left_s`: by the clock that the gateway then had."""
    file_id = await rig.upload(data)
    rig.controls["gateway"].shift_time(left_s - 60.0)
    try:
        await rig.create(file_id, "1m")
    finally:
        rig.controls["gateway"].shift_time(0.0)


async def _until_claimed(rig: Rig, batch_id: str) -> None:
    claimed = "SELECT count(*) FROM chunks WHERE attempt IS NOT NULL AND batch_id = ?"
    await _until_rows(rig, "a chunk that is claimed", claimed, batch_id)


async def _until_rows(rig: Rig, what: str, statement: str, *values: str) -> None:
    await until(lambda: rig.rows(statement, *values) > 0, within_s=PATIENCE_S, what=what)


async def _add_endpoint(rig: Rig) -> str:
    """The run's own key: an answer that was lost makes no second one."""
    wanted = {
        "name": rig.run,
        "url": f"http://127.0.0.1:{rig.receiver.port}/endpoint",
        "event_types": ["batch.completed"],
    }
    headers = {"idempotency-key": f"endpoint-{rig.run}"}
    return str((await rig.ok("POST", "/v1/webhook_endpoints", json=wanted, headers=headers))["id"])


async def _begin_upload(rig: Rig, size: int) -> str:
    declared = {
        "filename": "in.jsonl",
        "purpose": "batch",
        "bytes": size,
        "mime_type": "text/plain",
    }
    return str((await rig.ok("POST", "/v1/uploads", json=declared))["id"])


async def _add_part(rig: Rig, upload: str, data: bytes) -> str:
    added = await rig.ok("POST", f"/v1/uploads/{upload}/parts", files={"data": ("part", data)})
    return str(added["id"])


async def _upload_swept(rig: Rig, upload: str) -> None:
    """Once its time is over, nothing of it is left."""
    rig.controls["gateway"].shift_time(_UPLOAD_OVER_S)
    try:
        row = "SELECT count(*) FROM uploads WHERE id = ?"
        gone = lambda: rig.rows(row, upload) == 0  # noqa: E731
        await until(gone, within_s=PATIENCE_S, what="the upload's end")
    finally:
        rig.controls["gateway"].shift_time(0.0)
    await _until_gone(rig, upload)


async def _until_gone(rig: Rig, owner: str) -> None:
    """What a process left that died is collected as an orphan."""

    def none_left() -> bool:
        return all(key.endswith("manifest.json") for key in rig.objects(owner))

    await until(none_left, within_s=PATIENCE_S, what=f"the end of all of {owner}")


async def _hidden_files_purged(rig: Rig) -> None:
    hidden = "SELECT count(*) FROM files WHERE deleted_at IS NOT NULL AND purged_at IS NULL"
    await until(lambda: rig.rows(hidden) == 0, within_s=PATIENCE_S, what="the purge of files")
    known = rig.rows(
        "SELECT count(*) FROM files WHERE purged_at IS NULL AND blob_key LIKE 'files/%'"
    )
    await until(
        lambda: len(rig.objects("files/")) == known, within_s=PATIENCE_S, what="the end of bytes"
    )
