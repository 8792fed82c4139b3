"""Every service is restarted under load, one after the other: nothing is lost, nothing done twice.

Two of each but the sinks, as separate processes; the successor starts when its predecessor has
left. Meanwhile clients upload, watch, download, wait for a validation and for a webhook.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.client import Client, json_of
from chaos.request_log import read_served
from chaos.system import ABSENT_MODEL, MODELS, ROLES, Options, System, running
from support.ports import free_port
from support.receiver import Receiver
from support.requests import CHAT, chat_line, jsonl
from support.wait import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KEY = "key-of-one"
BATCHES = 10
LINES = 150
MOST_S = 30.0


class Clients:
    """A program that knows two gateways: what one does not answer it asks the other."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self._clients = [Client(url, KEY) for url in urls]

    async def ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for client in self._clients:
                if (answer := await client.try_once(method, path, **what)) is not None:
                    return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"no gateway answered {method} {path}")

    async def create(self, path: str, key: str, **what: Any) -> dict[str, Any]:
        return json_of(await self.ask("POST", path, headers={"idempotency-key": key}, **what))

    async def submit(self, name: str, data: bytes) -> str:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", data)}}
        file = await self.create("/files", f"{name}-file", **form)
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        return str((await self.create("/batches", f"{name}-batch", json=body))["id"])

    async def batch(self, batch_id: str) -> dict[str, Any]:
        return json_of(await self.ask("GET", f"/batches/{batch_id}"))

    async def content(self, file_id: str) -> bytes:
        return (await self.ask("GET", f"/files/{file_id}/content")).content

    async def ended(self, batch_id: str, within_s: float = 120) -> dict[str, Any]:
        async def over() -> bool:
            return (await self.batch(batch_id))["status"] == "completed"

        await until(over, within_s=within_s, what=f"the end of {batch_id}")
        return await self.batch(batch_id)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


class Restarts:
    """What a rolling restart is: one role after the other, each within the promised time."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.took_s: dict[str, float] = {}

    async def roll(self, *services: str) -> None:
        for service in services:
            for role in self._system.roles_of(service):
                self.took_s[role] = await self._system.restart(role)
                assert self.took_s[role] < MOST_S, f"{role} took {self.took_s[role]:.1f} s"
                if service == "gateway":
                    await until(lambda r=role: answers(self._system, r), what=f"{role} again")
                else:
                    await self._system.serving()


def port_of(system: System, role: str) -> int:
    return int(system.environments.get(role, {}).get("VLLM_BATCH_GATEWAY__PORT", system.port))


async def answers(system: System, role: str) -> bool:
    async with httpx.AsyncClient() as http:
        try:
            url = f"http://127.0.0.1:{port_of(system, role)}/readyz"
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=["sqlite", "postgres"])
async def system(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver
) -> AsyncIterator[System]:
    options = Options(
        folder=tmp_path,
        database=request.param,
        webhook=receiver.url,
        roles=("gateway-1", "gateway-2", *(role for role in ROLES if role != "gateway")),
        settings={"limits": {"max_requests": 1_000_000}, "gateway": {"drain_s": 20.0}},
    )
    made = System(options)
    made.environments["gateway-2"] = {"VLLM_BATCH_GATEWAY__PORT": str(free_port())}
    async with running(made):
        yield made


@pytest.fixture
async def clients(system: System) -> AsyncIterator[Clients]:
    urls = [f"http://127.0.0.1:{port_of(system, role)}" for role in ("gateway-1", "gateway-2")]
    made = Clients(urls)
    for role in ("gateway-1", "gateway-2"):
        await until(lambda r=role: answers(system, r), what=role)
    yield made
    await made.close()


def lines(batch: int) -> bytes:
    model = MODELS[batch % len(MODELS)]
    return jsonl(chat_line(f"c{n}", f"<{batch}-{n}> say", model) for n in range(LINES))


async def each_once(clients: Clients, batch_id: str) -> None:
    batch = await clients.ended(batch_id)
    assert batch["error_file_id"] is None
    found = [
        json.loads(line)["custom_id"]
        for line in (await clients.content(batch["output_file_id"])).splitlines()
    ]
    assert sorted(found) == sorted(f"c{n}" for n in range(LINES))


async def test_a_rolling_restart_under_load(
    system: System, clients: Clients, receiver: Receiver
) -> None:
    ids: list[str] = []

    async def submit_all() -> None:
        for number in range(BATCHES):
            ids.append(await clients.submit(f"batch-{number}", lines(number)))
            await asyncio.sleep(1.0)

    submitting = asyncio.create_task(submit_all())
    await until(lambda: len(ids) > 1 or submitting.done(), what="work to do")
    restarts = Restarts(system)
    await restarts.roll("gateway", "scheduler", "runner", "sinks")
    await submitting
    await asyncio.gather(*(each_once(clients, batch_id) for batch_id in ids))
    served = read_served(system.request_logs())
    print("restarts took", {role: round(s, 1) for role, s in restarts.took_s.items()})
    print("requests", len(served.counted), "computed more than once", served.repeated)
    assert len(served.counted) == BATCHES * LINES
    assert served.repeated == 0
    assert len(await listed(clients)) == BATCHES

    def delivered() -> bool:
        return len(receiver.posts) >= BATCHES

    await until(delivered, what="all deliveries")
    assert set(Counter(post.webhook_id for post in receiver.posts).values()) == {1}
    assert [process.ended for process in system.processes.values() if process.ended] == []


async def listed(clients: Clients) -> list[str]:
    page = json_of(await clients.ask("GET", "/batches", params={"limit": 100}))
    return [batch["id"] for batch in page["data"]]


async def restarted_while(
    system: System, work: Callable[[asyncio.Event], Awaitable[Any]]
) -> tuple[Any, float]:
    """The first gateway is restarted once `work` has set its event; what `work` returned."""
    await until(lambda: answers(system, "gateway-1"), what="the first gateway")
    begun = asyncio.Event()
    task = asyncio.ensure_future(work(begun))
    await asyncio.wait_for(begun.wait(), 20)
    took_s = await system.restart("gateway-1")
    assert took_s < MOST_S
    return await asyncio.wait_for(task, 60), took_s


async def test_what_clients_have_open_ends_well(system: System, clients: Clients) -> None:
    auth = {"authorization": f"Bearer {KEY}"}
    first = f"{clients.urls[0]}/v1"
    big = b'{"pad":"' + b"x" * (12 << 20) + b'"}\n'
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", big)}}
    file = await clients.create("/files", "big", **form)

    async def upload(begun: asyncio.Event) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            yield b'--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            yield b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
            for _ in range(30):
                yield b"{}\n" * 10_000
                begun.set()
                await asyncio.sleep(0.1)
            yield b"\r\n--X--\r\n"

        kind = {"content-type": "multipart/form-data; boundary=X"}
        async with httpx.AsyncClient(timeout=60) as http:
            return await http.post(f"{first}/files", content=body(), headers={**auth, **kind})

    async def download(begun: asyncio.Event) -> int:
        size = 0
        url = f"{first}/files/{file['id']}/content"
        async with (
            httpx.AsyncClient(timeout=60) as http,
            http.stream("GET", url, headers=auth) as answer,
        ):
            async for piece in answer.aiter_bytes(256 << 10):
                size += len(piece)
                begun.set()
                await asyncio.sleep(0.05)
        return size

    async def watch(begun: asyncio.Event) -> list[str]:
        waiting = await clients.submit("watched", jsonl([chat_line("a", "b", ABSENT_MODEL)]))
        url, seen = f"{first}/batches/{waiting}/events", []
        async with (
            httpx.AsyncClient(timeout=60) as http,
            http.stream("GET", url, headers=auth) as answer,
        ):
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:])["status"])
                    begun.set()
        return seen

    answer, _ = await restarted_while(system, upload)
    assert json_of(answer)["bytes"] == 30 * 30_000
    size, _ = await restarted_while(system, download)
    assert size == len(big)
    seen, took_s = await restarted_while(system, watch)
    assert seen[-1] in {"validating", "in_progress"}  # the server ended it, not the batch
    assert took_s < 10


async def test_a_validation_and_a_delivery_in_progress(
    system: System, clients: Clients, receiver: Receiver
) -> None:
    """Both schedulers and the sinks leave in the middle of it."""
    many = 200_000
    data = jsonl(chat_line(f"c{n}", "hello", ABSENT_MODEL) for n in range(many))
    slow = await clients.submit("slow", data)
    restarts = Restarts(system)
    assert (await clients.batch(slow))["status"] == "validating"
    await restarts.roll("scheduler")

    async def planned() -> bool:
        return (await clients.batch(slow))["request_counts"]["total"] == many

    await until(planned, within_s=90, what="the plan")
    receiver.before_answer = lambda: asyncio.sleep(1.5)
    quick = await clients.submit("quick", lines(0))
    await until(lambda: bool(receiver.posts), within_s=60, what="a delivery in progress")
    await restarts.roll("sinks")
    await each_once(clients, quick)
    await asyncio.sleep(0)
    assert len(receiver.posts) == 1
    print("restarts took", {role: round(s, 1) for role, s in restarts.took_s.items()})
