"""One run: a system, users at work, faults, and at the end the verdict."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from chaos.batch_plan import plan_batches
from chaos.checker import Evidence, SeenPost, check, innocent_failures, is_end
from chaos.client import Client
from chaos.faults import faults_for
from chaos.faults.base import Fault
from chaos.nursery import Nursery
from chaos.report import Report, Strikes
from chaos.request_log import Served, read_served
from chaos.schedule import Strike, plan_strikes
from chaos.subscriber import Subscriber
from chaos.system import (
    FLUSH_S,
    REQUESTS_PER_S,
    TENANTS,
    WINDOW,
    Options,
    System,
    features,
)
from chaos.traces import keep_traces
from chaos.watcher import Watcher
from chaos.workload import Workload
from support.receiver import Post, Receiver

# Every batch has ended so long after the last fault, or after its window where that is later.
SETTLED_S: Final = 90.0
# What each service may use; it has no part in what the batches hold.
PEAK_MIB: Final = 300.0
# Less than half of what the engines do when nothing is in their way.
_LOAD: Final = 0.42 * 2 * REQUESTS_PER_S
# Strikes of each kind, where there is time; some do not fire.
_EACH: Final = 6.4
_LEAST_S: Final = 1.5
_TRIES: Final = 4
_OVERTIME_S: Final = 120.0
_TOLD_S: Final = 40.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """faults, batches: kinds of them; none named: all. every_s: between two faults; 0: so that each
    kind strikes some six times.
    """

    folder: Path
    seed: int
    seconds: float
    database: str = "sqlite"
    nats: str = "single"
    every_s: float = 0.0
    faults: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    requests_per_s: float = _LOAD


class Run:
    """Made for each run anew."""

    def __init__(self, settings: Settings, system: System, receiver: Receiver) -> None:
        self.settings = settings
        self.system = system
        self.receiver = receiver
        self.faults = faults_for(system.features, settings.faults)
        self.schedule = schedule(settings)
        kinds = {"kinds": settings.batches} if settings.batches else {}
        # Some strikes wait for what they hit, and there has to be work for as long as they do.
        lasting_s = settings.seconds + _OVERTIME_S
        plans = plan_batches(settings.seed, lasting_s, settings.requests_per_s, **kinds)
        self.clients = {key: Client(system.url, key) for key in TENANTS}
        self.workload = Workload(plans, self.clients)
        self.watcher = Watcher(self.workload, self.clients)
        self.subscriber = Subscriber(lambda: system.nats_url)
        self.strikes: list[Strikes] = []
        self._settled_s = 0.0

    async def go(self) -> None:
        """Faults and work, then silence until everything has ended."""
        looking = [
            asyncio.create_task(self.watcher.run()),
            asyncio.create_task(self.subscriber.run()),
            asyncio.create_task(self._look_at_memory()),
        ]
        struck = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as doing:
                doing.create_task(self.workload.run(struck))
                await self._strike_all()
                struck.set()
            await self._settle()
            await self._until_told()
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
        for task in looking:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def report(self) -> Report:
        """The verdict; the API is asked for it."""
        (self.system.folder / "strikes.json").write_bytes(msgspec.json.encode(self.strikes))
        served = await asyncio.to_thread(read_served, self.system.request_logs())
        violations = [*self.system.complaints, *self.workload.complaints, *self.watcher.complaints]
        violations += [f"{s.kind}: {s.error}" for s in self.strikes if s.error]
        innocent: Counter[str] = Counter()
        requests = 0
        for evidence in await self._evidence():
            name = f"{evidence.batch['id']} ({evidence.plan.kind}, {evidence.plan.number})"
            violations += [f"{name}: {what}" for what in check(evidence, served.by_answer)]
            for line in innocent_failures(evidence):
                innocent[_why(line)] += 1
            requests += evidence.plan.lines
        if innocent and not any(self.faults[s.kind].fails_requests for s in self.strikes):
            violations.append(f"good requests failed: {dict(innocent)}")
        violations += await self._check_lists()
        violations += await self._check_tenants()
        peaks = {role: process.peak_mib for role, process in self.system.processes.items()}
        violations += [
            f"{role} used {mib:.0f} MiB, more than {PEAK_MIB:.0f}"
            for role, mib in peaks.items()
            if mib > PEAK_MIB
        ]
        allowed = self._repeats_allowed()
        if served.repeated > allowed:
            violations.append(f"{served.repeated} requests computed again, more than {allowed}")
        return Report(
            seed=self.settings.seed,
            database=self.settings.database,
            seconds=self.settings.seconds,
            statuses=Counter(seen["status"] for seen in self.watcher.batches.values()),
            requests=requests,
            computed=len(served.counted),
            repeated=served.repeated,
            repeats_allowed=allowed,
            innocent=innocent,
            strikes=self.strikes,
            recovery_s=self._recoveries(served),
            settled_s=self._settled_s,
            peaks_mib=peaks,
            ended=[
                f"{end.role}: {end.code} {end.said}"
                for process in self.system.processes.values()
                for end in process.ended
            ],
            violations=violations,
        )

    async def _strike_all(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as striking:
            for strike in self.schedule:
                await asyncio.sleep(max(0.0, began + strike.at_s - time.monotonic()))
                striking.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        fault: Fault = self.faults[strike.kind]
        began, fired, error = time.time(), 0, ""
        rng = random.Random(strike.seed)
        try:
            for _ in range(_TRIES):
                fired = fired or await fault.strike(self.system, rng)
        except Exception as failure:  # noqa: BLE001 - a fault that goes wrong is told at the end
            error = f"{type(failure).__name__}: {failure}"
        self.strikes.append(
            Strikes(strike.kind, began, time.time(), fired, fault.runners_hit, error)
        )

    async def _settle(self) -> None:
        """The bound counts from the last fault on, or from the end of the last window."""
        began = time.time()
        await self.watcher.look()
        windows = [
            self.watcher.batches[batch_id]["expires_at"]
            for batch_id in self.watcher.open
            if batch_id in self.watcher.batches
            and self.watcher.batches[batch_id]["completion_window"] == "1m"
        ]
        late = max([began, *windows])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(late + SETTLED_S - began):
                await self.watcher.all_ended()
        self._settled_s = max([*self.watcher.ended_at.values(), began]) - late
        for batch_id in self.watcher.open:
            self.system.complain(f"{batch_id} has not ended {SETTLED_S:.0f} s after the last fault")

    async def _until_told(self) -> None:
        """Every end stands in the stream and has reached the webhook."""
        deadline = time.monotonic() + _TOLD_S
        wanted = set(self.watcher.ended_at)
        while time.monotonic() < deadline:
            told = {event.batch_id for event in self.subscriber.events if is_end(event)}
            posted = {_batch_of(post) for post in self.receiver.posts}
            if wanted <= told and wanted <= posted:
                return
            await asyncio.sleep(0.2)

    async def _look_at_memory(self) -> None:
        while True:
            self.system.look_at_memory()
            await asyncio.sleep(0.5)

    async def _evidence(self) -> list[Evidence]:
        posts: dict[str, list[SeenPost]] = {}
        for post in self.receiver.posts:
            body = msgspec.json.decode(post.body)
            seen = SeenPost(post.webhook_id, body["id"], body["type"])
            posts.setdefault(body["data"]["id"], []).append(seen)
        found = []
        for accepted in self.workload.accepted:
            client = self.clients[accepted.plan.key]
            batch = (await client.ask("GET", f"/batches/{accepted.batch_id}")).json()
            found.append(
                Evidence(
                    plan=accepted.plan,
                    batch=batch,
                    output=await _content(client, batch["output_file_id"]),
                    errors=await _content(client, batch["error_file_id"]),
                    stream=(await client.ask("GET", f"/batches/{batch['id']}/results")).content,
                    events=self.subscriber.of(batch["id"]),
                    posts=posts.get(batch["id"], []),
                )
            )
        return found

    async def _check_lists(self) -> list[str]:
        """What was created once is there once."""
        found = []
        for key, client in self.clients.items():
            listed = Counter(batch["metadata"]["number"] for batch in await _list_all(client))
            wanted = Counter(
                str(a.plan.number) for a in self.workload.accepted if a.plan.key == key
            )
            if listed != wanted:
                found.append(
                    f"tenant {TENANTS[key]} lists other batches: {listed - wanted} more, "
                    f"{wanted - listed} missing"
                )
        return found

    async def _check_tenants(self) -> list[str]:
        """A foreign batch, its results and its files look like ones that are not there."""
        found = []
        for accepted in self.workload.accepted[-50:]:
            [other] = [client for key, client in self.clients.items() if key != accepted.plan.key]
            batch = self.watcher.batches.get(accepted.batch_id, {})
            paths = [f"/batches/{accepted.batch_id}", f"/batches/{accepted.batch_id}/results"]
            paths += [
                f"/files/{batch[name]}/content"
                for name in ("input_file_id", "output_file_id", "error_file_id")
                if batch.get(name)
            ]
            for path in paths:
                answer = await other.ask("GET", path)
                if answer.status_code != 404:
                    found.append(f"another tenant gets {answer.status_code} for {path}")
        return found

    def _repeats_allowed(self) -> int:
        """In flight, and answered since the last flush: twice the interval, for a slow disk."""
        each = WINDOW + REQUESTS_PER_S * 2 * FLUSH_S
        return int(each * sum(s.runners_hit for s in self.strikes if s.fired))

    def _recoveries(self, served: Served) -> list[tuple[float, str]]:
        answered = sorted(at for client in self.clients.values() for at in client.answered_at)
        found = []
        for strike in self.strikes:
            if strike.fired and self.watcher.was_open(strike.ended):
                served_at = next((at for at in served.times if at >= strike.ended), None)
                asked_at = next((at for at in answered if at >= strike.ended), None)
                if served_at and asked_at:
                    found.append((max(served_at, asked_at) - strike.ended, strike.kind))
        return found


def schedule(settings: Settings) -> tuple[Strike, ...]:
    """What strikes when in such a run."""
    faults = faults_for(features(settings.database, settings.nats), settings.faults)
    weights = {kind: fault.weight for kind, fault in faults.items()}
    every_s = settings.every_s or settings.seconds / (_EACH * sum(weights.values()))
    return plan_strikes(settings.seed, settings.seconds, weights, max(every_s, _LEAST_S))


async def run_chaos(settings: Settings) -> Report:
    """The whole of it."""
    receiver, nursery = Receiver(), Nursery()
    await receiver.start()
    await nursery.start()
    mood = random.Random(f"receiver of {settings.seed}")
    receiver.answer = lambda _: _moody(mood)
    system = System(
        Options(
            folder=settings.folder,
            database=settings.database,
            nats=settings.nats,
            webhook=receiver.url,
        ),
        nursery,
    )
    run = Run(settings, system, receiver)
    async with contextlib.AsyncExitStack() as ending:
        ending.push_async_callback(receiver.stop)
        ending.push_async_callback(nursery.stop)
        ending.push_async_callback(system.stop_stores)
        for client in run.clients.values():
            ending.push_async_callback(client.close)
        await system.start_stores()
        for fault in run.faults.values():
            ending.push_async_callback(fault.finish, system)
            await fault.prepare(system)
        ending.push_async_callback(system.stop)
        await system.start_services()
        await run.go()
        report = await run.report()
        if report.violations:
            await keep_traces(system)
        return report


def _moody(mood: random.Random) -> web.Response:
    """A receiver as they are: now and then it does not take what it is given."""
    return Receiver.plain(mood.choice((200, 200, 200, 200, 503)))


def _batch_of(post: Post) -> str:
    return str(msgspec.json.decode(post.body)["data"]["id"])


def _why(line: dict[str, Any]) -> str:
    if line["error"] is not None:
        return str(line["error"]["code"])
    return f"status {line['response']['status_code']}"


async def _content(client: Client, file_id: str | None) -> bytes | None:
    if file_id is None:
        return None
    answer = await client.ask("GET", f"/files/{file_id}/content")
    assert answer.status_code == 200, f"{file_id}: {answer.status_code} {answer.text}"
    return answer.content


async def _list_all(client: Client) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    after = ""
    while True:
        answer = await client.ask("GET", f"/batches?limit=100{after}")
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = f"&after={page['last_id']}"
