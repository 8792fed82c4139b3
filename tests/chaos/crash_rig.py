"""A system whose processes die where they are told to, and what it takes to look after a story."""

import asyncio
import json
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import httpx
import nats
from aiohttp import web

from batch_common.config import Webhook
from chaos.control import PointFault
from chaos.nursery import Nursery
from chaos.system import MODELS, Options, System, running
from support.receiver import Post, Receiver
from support.requests import CHAT, chat_line, jsonl
from support.wait import until

MODEL: Final = MODELS[0]
TERMINAL: Final = {"completed", "failed", "expired", "cancelled"}
# Long enough for a restart, a lease, a claim and a redelivery, one after the other.
PATIENCE_S: Final = 60.0
_ROLES: Final = {
    "gateway": "gateway", "scheduler": "scheduler-1", "runner": "runner-1", "sinks": "sinks"
}  # fmt: skip
_SETTINGS: Final = {
    "scheduler": {
        "chunk_max_requests": 4, "chunk_first_requests": 4, "chunks_per_runner": 2,
        "claim_ttl_s": 1.5, "lease_ttl_s": 1.2, "poll_s": 0.2, "reconcile_s": 0.3,
    },
    "runner": {
        "flush_s": 0.1, "claim_s": 0.3, "ack_wait_s": 2.0, "drain_s": 0.5,
        # Room for every line of a story: those that hang must not keep the others out.
        "window": 32, "request_timeout_s": 60, "request_attempts": 2,
    },
}  # fmt: skip
_RETRY_FOR_S: Final = 5.0
_TOLD_OF: Final = ("batch.completed", "batch.expired", "batch.cancelled")
_CONSTANTS: Final = {
    "gateway": {
        "batch_common.relay:_CLAIM_S": 1.5,
        "batch_gateway.upload_sweep:_EVERY_S": 0.3,
        "batch_gateway.idempotency:_SWEEP_S": 0.3,
    },
    "scheduler": {
        "batch_common.relay:_CLAIM_S": 1.5,
        "batch_common.relay:_AUDIT_S": 0.5,
        "batch_scheduler.app:_EVENTS.ack_wait_s": 2.0,
        "batch_scheduler.app:_COMPLETIONS.ack_wait_s": 2.0,
        "batch_scheduler.app:_SWEEP_S": 0.3,
        "batch_scheduler.sweep:GRACE_S": 3.0,
        "batch_scheduler.reconcile:_FRESH_S": 0.5,
        "batch_scheduler.validate:_STAND_BACK_S": 0.5,
        "batch_scheduler.plans:EVERY_S": 0.5,
        "batch_scheduler.app:LOOK_S": 0.3,
        "batch_scheduler.collect:_FIRST_S": 0.0,
        "batch_scheduler.collect:_EVERY_S": 0.3,
        "batch_scheduler.collect:_AGE_S": 0.0,
    },
    "runner": {
        "batch_gpu_runner.hold:_TROUBLE_S": 1.0,
        "batch_gpu_runner.intake:_HELD_S": 1.0,
        "batch_gpu_runner.engine_life:FIRST_PAUSE_S": 0.1,
    },
    "sinks": {"batch_common.relay:_CLAIM_S": 1.5, "batch_sinks.deliverer:_SETTLE_S": 0.5},
}
# Whatever of it stays for good was never repaired.
_UNSETTLED: Final = {
    "unsent events": "SELECT count(*) FROM outbox WHERE sent_at IS NULL",
    "pending deliveries": "SELECT count(*) FROM deliveries WHERE state = 'pending'",
    "released chunks": "SELECT count(*) FROM chunks WHERE state = 'released'",
    "unswept chunks": "SELECT count(*) FROM chunks WHERE swept_at IS NULL",
    # A delivery that was given up can be taken up again, and needs the requests then.
    "spans": (
        "SELECT count(*) FROM spans "
        "WHERE batch_id NOT IN (SELECT batch_id FROM deliveries WHERE state = 'failed')"
    ),
}


class Rig:
    """One gateway, scheduler, runner and sinks. Made by `rig`."""

    def __init__(self, folder: Path, receiver: Receiver, nursery: Nursery) -> None:
        webhook = Webhook(
            url=receiver.url,
            allow_private=True,
            allow_http=True,
            timeout_s=2.0,
            events=_TOLD_OF,
        )
        sinks = {"enabled": ("webhook",), "retry_for_s": _RETRY_FOR_S, "webhook": webhook}
        options = Options(
            folder=folder,
            settings={**_SETTINGS, "sinks": sinks},
            engine={"requests_per_s": "400"},
            roles=tuple(_ROLES.values()),
        )
        self.receiver = receiver
        self.system = System(options, nursery)
        self.controls = {service: self.system.control(role) for service, role in _ROLES.items()}
        for service, constants in _CONSTANTS.items():
            self.controls[service].set_constants(constants)
        self.run = ""
        self.http = httpx.AsyncClient(
            base_url=self.system.url, headers={"authorization": "Bearer key-of-one"}, timeout=10
        )
        self._posts: list[Post] = []

    async def close(self) -> None:
        await self.http.aclose()

    def pid(self, service: str) -> int | None:
        return self.system.processes[_ROLES[service]].pid

    async def send(self, service: str, number: signal.Signals) -> None:
        """A signal; whoever ends of it is started again."""
        await self.system.processes[_ROLES[service]].send(number)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As a client that tries again while the gateway is away; what it answers below 500."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await self.http.request(method, path, **options)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code < 500:
                    return answer
                said = answer.text
            assert time.monotonic() < deadline, f"{method} {path}: {said}"
            await asyncio.sleep(0.1)

    async def ok(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = await self.ask(method, path, **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.text}"
        answered: dict[str, Any] = answer.json()
        return answered

    async def upload(self, data: bytes, name: str = "in.jsonl") -> str:
        form = {"data": {"purpose": "batch"}, "files": {"file": (name, data)}}
        return str((await self.ok("POST", "/v1/files", **form))["id"])

    async def create(self, file_id: str, window: str = "24h", **metadata: str) -> str:
        """A batch of this run. An answer that was lost makes two of it: both have to end."""
        body = {
            "input_file_id": file_id,
            "endpoint": CHAT,
            "completion_window": window,
            "metadata": {"run": self.run, **metadata},
        }
        return str((await self.ok("POST", "/v1/batches", json=body))["id"])

    async def batch(self, batch_id: str) -> dict[str, Any]:
        return await self.ok("GET", f"/v1/batches/{batch_id}")

    async def until_batch(
        self, batch_id: str, holds: Callable[[dict[str, Any]], bool], what: str
    ) -> dict[str, Any]:
        async def look() -> bool:
            found.append(await self.batch(batch_id))
            return holds(found[-1])

        found: list[dict[str, Any]] = []
        try:
            await until(look, within_s=PATIENCE_S, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found[-1]}") from None
        return found[-1]

    async def batches(self) -> list[dict[str, Any]]:
        """Those of this run."""
        listed = (await self.ok("GET", "/v1/batches", params={"limit": 100}))["data"]
        return [batch for batch in listed if (batch["metadata"] or {}).get("run") == self.run]

    async def ended(self, ids: list[str], *statuses: str, retried: Sequence[str] = ()) -> None:
        """Every batch of this run ends in one of `statuses`, with each custom id once.

        `retried`: the custom ids of those that are the retry of another.
        """
        for batch in await self.batches():
            ended = await self.until_batch(
                batch["id"], lambda b: b["status"] in TERMINAL, f"the end of {batch['id']}"
            )
            assert ended["status"] in statuses, ended
            await self._check(ended, retried if "retry_of" in ended["metadata"] else ids)

    async def _check(self, batch: dict[str, Any], ids: Sequence[str]) -> None:
        output = await self.lines(batch["output_file_id"])
        errors = await self.lines(batch["error_file_id"])
        found = Counter(line["custom_id"] for line in (*output, *errors))
        assert found == Counter(ids if batch["in_progress_at"] else []), batch
        counts = batch["request_counts"]
        unfinished = sum(
            (line["error"] or {}).get("code", "").startswith("batch_") for line in errors
        )
        assert counts["completed"] == len(output), batch
        assert counts["failed"] == len(errors) - unfinished, batch
        assert counts["total"] == len(found), batch
        assert (batch["status"] in ("expired", "cancelled")) or not unfinished, batch

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if not file_id:
            return []
        answer = await self.ask("GET", f"/v1/files/{file_id}/content")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.content.splitlines()]

    async def notified(self) -> None:
        """Each ended batch of this run was told of at least once, under one id and one type."""
        for batch in await self.batches():
            if batch["status"] != "failed":
                await until(
                    lambda b=batch["id"]: bool(self._told(b)),  # type: ignore[misc]
                    within_s=PATIENCE_S,
                    what=f"a webhook for {batch['id']}",
                )
            told = self._told(batch["id"])
            assert len({post.webhook_id for post in told}) == (batch["status"] != "failed")
            types = {json.loads(post.body)["type"] for post in told}
            assert types <= {f"batch.{batch['status']}"}

    def _told(self, batch_id: str) -> list[Post]:
        return [
            post
            for post in self.receiver.posts
            if json.loads(post.body)["data"]["id"] == batch_id
            and self.receiver.url.endswith(post.path)
        ]

    def calm(self) -> None:
        """Receiver, engine, points and clocks as they were at first."""
        self.refuse(0)
        self.receiver.before_answer = lambda: asyncio.sleep(0)
        self.engine_faults()
        for control in self.controls.values():
            control.disarm()
            control.shift_time(0.0)

    def refuse(self, answers: int | None) -> None:
        """The receiver answers the next so many posts with 500; None: all of them."""
        left = [answers]

        def answer(_: Post) -> web.Response:
            if left[0] is None or left[0] > 0:
                left[0] = left[0] and left[0] - 1
                return Receiver.plain(500)
            return Receiver.plain(200)

        self.receiver.answer = answer

    def engine_faults(self, **ordered: object) -> None:
        """What the engine's requests meet from now on; nothing without a word."""
        path = self.system.fault_file("runner-1")
        beside = path.with_suffix(f".{uuid.uuid4().hex}")
        beside.write_text(json.dumps(ordered))
        beside.replace(path)

    async def js(self, work: Callable[[Any], Any]) -> Any:
        """`work` with a JetStream context of our own."""
        client = await nats.connect(self.system.nats_url)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    def rows(self, statement: str, *values: str) -> int:
        """The one number that it selects; or changes rows."""
        return int(next(iter(self.column(statement, *values)), 0))

    def column(self, statement: str, *values: str) -> list[Any]:
        """The first of each row."""
        path = self.system.data / "batches.db"
        with closing(sqlite3.connect(path, timeout=30)) as database, database:
            return [row[0] for row in database.execute(statement, values)]

    async def settled(self) -> None:
        """Nothing waits any more, and nothing is left that nobody needs."""
        for what, statement in _UNSETTLED.items():
            none = lambda s=statement: self.rows(s) == 0  # noqa: E731
            await until(none, within_s=PATIENCE_S, what=f"no {what}")
        await until(
            lambda: not self._unneeded(), within_s=PATIENCE_S, what="no segments and unneeded plans"
        )

    def _unneeded(self) -> list[str]:
        """A batch with an error file keeps its plan, for a retry; so do those given up above."""
        kept = self.column(
            "SELECT batches.id FROM batches JOIN files ON files.id = error_file_id "
            "WHERE purged_at IS NULL "
            "UNION SELECT batch_id FROM deliveries WHERE state = 'failed'"
        )
        plans = [key for key in self.objects("plans/") if key.split("/")[1] not in kept]
        return plans + self.objects("segment-")

    def lose(self, prefix: str) -> None:
        """Objects vanish from the blob store."""
        for key in self.objects(prefix):
            (self._objects / key).unlink()

    def objects(self, fragment: str) -> list[str]:
        """Keys in the blob store with this in them."""
        found = (path for path in self._objects.rglob("*") if path.is_file())
        keys = (str(path.relative_to(self._objects)) for path in found)
        return [key for key in keys if fragment in key]

    @property
    def _objects(self) -> Path:
        return self.system.data / "blobs" / "objects"


def ids(count: int) -> list[str]:
    return [f"r{n}" for n in range(count)]


def lines(
    count: int, hang_from: int | None = None, fails: int | None = None, kills: int | None = None
) -> bytes:
    """`hang_from`: from this line on the engine never answers; `fails`: this one it refuses;
    `kills`: of this one it dies.
    """
    made = []
    for n, custom_id in enumerate(ids(count)):
        hangs = hang_from is not None and n >= hang_from
        poison = "POISON-CRASH " if n == kills else "POISON-HANG " if hangs else ""
        line = chat_line(custom_id, f"{poison}question {n}", model=MODEL)
        if n == fails:
            line["body"]["temperature"] = 9
        made.append(line)
    return jsonl(made)


@asynccontextmanager
async def rig(folder: Path, armed: Mapping[str, PointFault] | None = None) -> AsyncIterator[Rig]:
    """A running one. `armed`: by service, before anything starts."""
    receiver, nursery = Receiver(), Nursery()
    await receiver.start()
    await nursery.start()
    made = Rig(folder, receiver, nursery)
    for service, fault in (armed or {}).items():
        made.controls[service].arm(fault)
    try:
        async with running(made.system):
            yield made
    finally:
        await made.close()
        await nursery.stop()
        await receiver.stop()
