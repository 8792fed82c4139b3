"""A system whose processes die where they are told to, and what it takes to look after a story."""

import asyncio
import json
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import httpx
import nats
from aiohttp import web

from chaos.system import MODELS, System, running
from chaos.system import Options as SystemOptions
from support.receiver import Post, Receiver
from support.requests import CHAT, chat_line, jsonl
from support.wait import until

MODEL: Final = MODELS[0]
TERMINAL: Final = {"completed", "failed", "expired", "cancelled"}
# Long enough for a restart, a lease, a claim and a redelivery, one after the other.
PATIENCE_S: Final = 45.0
_ROLES: Final = {
    "gateway": "gateway", "scheduler": "scheduler-1", "runner": "runner-1", "sinks": "sinks"
}  # fmt: skip
_SETTINGS: Final = {
    "scheduler": {
        "chunk_max_requests": 4, "chunk_first_requests": 4, "chunks_per_runner": 2,
        "claim_ttl_s": 1.5, "lease_ttl_s": 1.2, "poll_s": 0.2, "reconcile_s": 0.3,
    },
    "runner": {
        "flush_s": 0.1, "claim_s": 0.3, "ack_wait_s": 2.0, "drain_s": 0.5, "window": 8,
        "request_timeout_s": 60, "request_attempts": 2,
    },
    "sinks": {
        "retry_for_s": 3.0,
        "webhook": {
            "allow_private": True, "timeout_s": 1.0,
            "events": ["batch.completed", "batch.expired", "batch.cancelled"],
        },
    },
}  # fmt: skip
_CONSTANTS: Final = {
    "gateway": {
        "batch_common.relay:_CLAIM_S": 1.5,
        "batch_gateway.upload_sweep:_EVERY_S": 0.3,
    },
    "scheduler": {
        "batch_common.relay:_CLAIM_S": 1.5,
        "batch_common.relay:_AUDIT_S": 0.5,
        "batch_scheduler.app:_EVENTS.ack_wait_s": 2.0,
        "batch_scheduler.app:_COMPLETIONS.ack_wait_s": 2.0,
        "batch_scheduler.app:_SWEEP_FILES_S": 0.3,
        "batch_scheduler.sweep:GRACE_S": 3.0,
        "batch_scheduler.reconcile:_FRESH_S": 0.5,
        "batch_scheduler.validate:_STAND_BACK_S": 0.5,
    },
    "runner": {"batch_gpu_runner.hold:_TROUBLE_S": 1.0, "batch_gpu_runner.intake:_HELD_S": 1.0},
    "sinks": {"batch_common.relay:_CLAIM_S": 1.5, "batch_sinks.deliverer:_SETTLE_S": 0.5},
}
# Whatever of it stays for good was never repaired.
_UNSETTLED: Final = {
    "unsent events": "SELECT count(*) FROM outbox WHERE sent_at IS NULL",
    "pending deliveries": "SELECT count(*) FROM deliveries WHERE state = 'pending'",
    "released chunks": "SELECT count(*) FROM chunks WHERE state = 'released'",
    "unswept chunks": "SELECT count(*) FROM chunks WHERE swept_at IS NULL",
    "spans": "SELECT count(*) FROM spans",
}


class Rig:
    """One gateway, scheduler, runner and sinks. Made by `rig`."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        settings = {**_SETTINGS, "sinks": {**_SETTINGS["sinks"], "enabled": ["webhook"]}}
        settings["sinks"]["webhook"] |= {"url": receiver.url}  # type: ignore[index]
        self.receiver = receiver
        self.system = System(
            SystemOptions(
                folder=folder,
                settings=settings,
                engine={
                    "requests_per_s": "400",
                    "fault_file": str(folder / "engine-faults-runner-1.json"),
                },
                roles=tuple(_ROLES.values()),
            )
        )
        self.controls = {service: self.system.control(role) for service, role in _ROLES.items()}
        for service, constants in _CONSTANTS.items():
            self.controls[service].set_constants(constants)
        self.run = ""
        self._http = httpx.AsyncClient(
            base_url=self.system.url, headers={"authorization": "Bearer key-of-one"}, timeout=10
        )
        self._posts: list[Post] = []

    async def close(self) -> None:
        await self._http.aclose()

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
                answer = await self._http.request(method, path, **options)
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

    async def create(self, file_id: str, window: str = "24h") -> str:
        """A batch of this run. An answer that was lost makes two of it: both have to end."""
        body = {
            "input_file_id": file_id,
            "endpoint": CHAT,
            "completion_window": window,
            "metadata": {"run": self.run},
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

    async def ended(self, ids: list[str], *statuses: str) -> None:
        """Every batch of this run ends in one of `statuses`, with each custom id once."""
        for batch in await self.batches():
            ended = await self.until_batch(
                batch["id"], lambda b: b["status"] in TERMINAL, f"the end of {batch['id']}"
            )
            assert ended["status"] in statuses, ended
            await self._check(ended, ids)

    async def _check(self, batch: dict[str, Any], ids: list[str]) -> None:
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
                told = lambda b=batch["id"]: bool(self._told(b))  # noqa: E731
                await until(told, within_s=PATIENCE_S, what=f"a webhook for {batch['id']}")
            told = self._told(batch["id"])
            assert len({post.webhook_id for post in told}) == (batch["status"] != "failed")
            types = {json.loads(post.body)["type"] for post in told}
            assert types <= {f"batch.{batch['status']}"}

    def _told(self, batch_id: str) -> list[Post]:
        return [p for p in self.receiver.posts if json.loads(p.body)["data"]["id"] == batch_id]

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
        with closing(sqlite3.connect(self.system.data / "batches.db", timeout=30)) as database:
            with database:
                found = database.execute(statement, values).fetchone()
            return int(found[0]) if found else 0

    async def settled(self) -> None:
        """Nothing waits any more, and nothing is left that nobody needs."""
        for what, statement in _UNSETTLED.items():
            none = lambda s=statement: self.rows(s) == 0  # noqa: E731
            await until(none, within_s=PATIENCE_S, what=f"no {what}")
        await until(
            lambda: not self.objects("plans/") + self.objects("segment-"),
            within_s=PATIENCE_S,
            what="no plans and segments",
        )

    def objects(self, fragment: str) -> list[str]:
        """Keys in the blob store with this in them."""
        folder = self.system.data / "blobs" / "objects"
        keys = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return [key for key in keys if fragment in key]


def ids(count: int) -> list[str]:
    return [f"r{n}" for n in range(count)]


def lines(count: int, hang_from: int | None = None, fails: int | None = None) -> bytes:
    """`hang_from`: from this line on the engine never answers; `fails`: this one it refuses."""
    made = []
    for n, custom_id in enumerate(ids(count)):
        hangs = hang_from is not None and n >= hang_from
        line = chat_line(custom_id, f"{'POISON-HANG ' * hangs}question {n}", model=MODEL)
        if n == fails:
            line["body"]["temperature"] = 9
        made.append(line)
    return jsonl(made)


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    """A running one."""
    receiver = Receiver()
    await receiver.start()
    made = Rig(folder, receiver)
    try:
        async with running(made.system):
            yield made
    finally:
        await made.close()
        await receiver.stop()
