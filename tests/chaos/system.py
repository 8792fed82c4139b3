"""The real system as separate processes, each of which can be hurt by itself."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil

from batch_common.config import (
    Config,
    Database,
    Gateway,
    Limits,
    Nats,
    Runner,
    Scheduler,
    Sinks,
    Webhook,
)
from batch_common.config_file import dump_config
from batch_common.secret import ApiKeys, Secret
from batch_common.service import PARENT_VARIABLE
from chaos.control import Control
from chaos.nursery import Foster, Nursery
from chaos.postgres_server import PostgresServer
from chaos.process import Process
from support.nats_cluster import NatsCluster
from support.nats_process import NatsProcess
from support.ports import free_port
from support.wait import until

ROLES: Final = ("gateway", "scheduler-1", "scheduler-2", "runner-1", "runner-2", "sinks")
ACK_WAIT_S: Final = 3.0
FLUSH_S: Final = 0.5
WINDOW: Final = 16
# Of each of the two runners' engines.
REQUESTS_PER_S: Final = 40
MODELS: Final = ("alpha", "beta")
# Known to the API, and served by nobody: what is asked of it can only expire.
ABSENT_MODEL: Final = "absent"
TENANTS: Final = {"key-of-one": "one", "key-of-two": "two"}

_TESTS: Final = Path(__file__).parents[1]
_ENGINE: Final = "batch_gpu_runner.engines.sim"
_READY_S: Final = 60.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """settings: laid over the configuration, section by section; webhook: where sinks deliver."""

    folder: Path
    database: str = "sqlite"
    nats: str = "single"
    webhook: str = ""
    settings: Mapping[str, Mapping[str, Any]] = {}
    engine: Mapping[str, str] = {}
    roles: tuple[str, ...] = ROLES


class System:
    """Made by `running`. Roles are named `gateway`, `scheduler-1`, `runner-2`, …"""

    def __init__(self, options: Options, nursery: Nursery | None = None) -> None:
        """`nursery`: where processes come from; none: each is started by itself."""
        self.options = options
        self.folder = options.folder
        self.data = self.folder / "data"
        self.logs = self.folder / "logs"
        for folder in (self.data, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nats").mkdir(exist_ok=True)
        self.nats = NatsProcess(self.folder / "nats")
        self.cluster = NatsCluster(self.folder / "nats") if options.nats == "cluster" else None
        self.postgres = PostgresServer() if options.database == "postgres" else None
        # Asked at every start of a process: a proxy may stand between a role and NATS.
        self.nats_urls: dict[str, str] = {}
        # Laid over each role's environment at its next start.
        self.environments: dict[str, dict[str, str]] = {}
        self.features = features(options.database, options.nats)
        self.complaints: list[str] = []
        self.port = free_port()
        self._config = self.folder / "config.yml"
        self._locks: dict[str, asyncio.Lock] = {}
        self._controls = {role: Control(self.folder / "control", role) for role in options.roles}
        self.processes = {role: self._process(role) for role in options.roles}
        if nursery is not None:
            self.processes = {r: Foster(p, nursery) for r, p in self.processes.items()}

    @property
    def url(self) -> str:
        """Of the API, without /v1."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def nats_url(self) -> str:
        """Where the server (or the cluster) itself listens."""
        return self.cluster.url if self.cluster else self.nats.settings.url.reveal()

    @property
    def nats_ports(self) -> list[int]:
        return [n.port for n in self.cluster.nodes] if self.cluster else [self.nats.port]

    def roles_of(self, service: str) -> list[str]:
        """`runner` → `runner-1`, `runner-2`."""
        return [role for role in self.processes if role.partition("-")[0] == service]

    def control(self, role: str) -> Control:
        """Arms faults at the crash points of that role's process."""
        return self._controls[role]

    def request_log(self, role: str) -> Path:
        """What that runner's engine has served, over all its lives."""
        return self.folder / f"requests-{role}.jsonl"

    def request_logs(self) -> list[Path]:
        return [self.request_log(role) for role in self.roles_of("runner")]

    def fault_file(self, role: str) -> Path:
        """What that runner's engine reads its faults from."""
        return self.folder / f"engine-faults-{role}.json"

    def complain(self, what: str) -> None:
        """A violation that the faults themselves see."""
        self.complaints.append(what)

    @asynccontextmanager
    async def holding(self, role: str) -> AsyncIterator[None]:
        """No other fault hits the role meanwhile. `nats` and `postgres` are roles, too."""
        async with self._locks.setdefault(role, asyncio.Lock()):
            yield

    async def kill(self, role: str, down_s: float = 0.3, *, up: bool = False) -> None:
        """kill -9; returns when its successor has been started, `down_s` later; `up`: and serves,
        so that nothing else hits it before.
        """
        async with self.holding(role):
            await self.processes[role].replace(signal.SIGKILL, down_s)
            if up:
                await self.processes[role].serving()

    async def restart(self, role: str, down_s: float = 0.0, *, up: bool = False) -> float:
        """SIGTERM, and then like `kill`; seconds until it had left."""
        async with self.holding(role):
            took_s = await self.processes[role].replace(signal.SIGTERM, down_s)
            if up:
                await self.processes[role].serving()
            return took_s

    async def stop_continue(self, role: str, seconds: float) -> None:
        """Freezes it."""
        async with self.holding(role):
            await self._freeze(await self.processes[role].running_pid(), seconds)

    async def signal_engine(self, runner: str, number: signal.Signals) -> bool:
        """False when no engine ran."""
        async with self.holding(runner):
            engine = await self.engine_pid(runner)
            if engine is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, number)
                return True
            return False

    async def stop_continue_engine(self, runner: str, seconds: float) -> bool:
        """False when no engine ran."""
        async with self.holding(runner):
            engine = await self.engine_pid(runner)
            if engine is None:
                return False
            await self._freeze(engine, seconds)
            return True

    async def engine_pid(self, runner: str, within_s: float = 5) -> int | None:
        """The engine's process behind a runner, waiting while it is being started."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            owner = self.processes[runner].pid
            found = await asyncio.to_thread(_engine_below, owner) if owner else None
            if found is not None:
                return found
            await asyncio.sleep(0.1)
        return None

    async def start_stores(self) -> None:
        """NATS and the database."""
        if self.postgres is not None:
            await self.postgres.start()
        await (self.cluster or self.nats).start()

    async def start_services(self) -> None:
        """Returns when API and engines serve."""
        self._write_config()
        for process in self.processes.values():
            process.start()
        await self.serving()

    async def serving(self, within_s: float = _READY_S) -> None:
        """Until the API answers and every runner has announced itself."""
        wanted = len(self.roles_of("runner"))
        async with httpx.AsyncClient() as http:

            async def ready() -> bool:
                try:
                    answer = await http.get(f"{self.url}/readyz", timeout=5)
                except httpx.TransportError:
                    return False
                models = answer.json().get("models", {}) if answer.status_code == 200 else {}
                return all(models.get(model, {}).get("runners", 0) >= wanted for model in MODELS)

            await until(ready, within_s=within_s, what="a system that serves")

    def look_at_memory(self) -> None:
        for process in self.processes.values():
            process.look_at_memory()

    async def stop(self) -> None:
        """Services, then what they stand on."""
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    async def stop_stores(self) -> None:
        await (self.cluster or self.nats).stop()
        if self.postgres is not None:
            await self.postgres.stop()

    async def _freeze(self, pid: int, seconds: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _process(self, role: str) -> Process:
        return Process(
            role,
            lambda: self._command(role),
            lambda: self._environment(role),
            self.logs / f"{role}.log",
        )

    def _command(self, role: str) -> tuple[str, ...]:
        service = role.partition("-")[0]
        hooked = ("chaos.service_main", str(self._controls[role].folder), role)
        return (sys.executable, "-m", *hooked, service, "--config", str(self._config))

    def _environment(self, role: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VLLM_BATCH_")}
        path = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path}
        own["VLLM_BATCH_NATS__URL"] = self.nats_urls.get(role, self.nats_url)
        if role.startswith("runner"):
            own["VLLM_BATCH_RUNNER__STATE_DIR"] = str(self.folder / "engines" / role)
            own["VLLM_BATCH_RUNNER__OPTIONS"] = json.dumps(self._engine_options(role))
        return kept | own | self.environments.get(role, {})

    def _engine_options(self, role: str) -> dict[str, str]:
        options = {
            "requests_per_s": str(REQUESTS_PER_S),
            "request_log": str(self.request_log(role)),
            "fault_file": str(self.fault_file(role)),
            "crash_on": "POISON-CRASH",
            "oom_on": "POISON-OOM",
            "hang_on": "POISON-HANG",
        }
        return options | dict(self.options.engine)

    def _write_config(self) -> None:
        config = _quick_config(self)
        for section, values in self.options.settings.items():
            changed = msgspec.structs.replace(getattr(config, section), **values)
            config = msgspec.structs.replace(config, **{section: changed})
        self._config.write_text(dump_config(config), "utf-8")


def features(database: str, nats: str) -> set[str]:
    """What faults may need, see Fault.needs."""
    return {"cluster" if nats == "cluster" else "single nats", database}


def _quick_config(system: System) -> Config:
    """Every interval is short, so that a run sees many recoveries."""
    webhook = system.options.webhook
    return Config(
        data_dir=str(system.data),
        models=(*MODELS, ABSENT_MODEL),
        database=Database(url=Secret(system.postgres.url if system.postgres else ""), pool_size=5),
        nats=Nats(replicas=len(system.nats_ports)),
        gateway=Gateway(port=system.port, api_keys=ApiKeys(TENANTS)),
        limits=Limits(completion_windows=("24h", "1m")),
        scheduler=Scheduler(
            chunk_max_requests=100,
            chunk_first_requests=40,
            chunk_target_s=8,
            claim_ttl_s=3,
            lease_ttl_s=3,
            reconcile_s=1,
            poll_s=0.5,
        ),
        runner=Runner(
            engine="sim",
            models=MODELS,
            window=WINDOW,
            request_timeout_s=20,
            engine_silence_s=10,
            request_attempts=3,
            flush_s=FLUSH_S,
            claim_s=0.5,
            ack_wait_s=ACK_WAIT_S,
            drain_s=5,
        ),
        sinks=Sinks(
            enabled=("webhook",) if webhook else (),
            webhook=Webhook(url=webhook, allow_private=True, timeout_s=3),
        ),
    )


def _engine_below(owner: int) -> int | None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(owner).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = child.cmdline()
                if "-m" in words and words[words.index("-m") + 1] == _ENGINE:
                    return int(child.pid)
    return None


@asynccontextmanager
async def running(system: System) -> AsyncIterator[System]:
    """Started, and stopped with everything below it when the block ends."""
    try:
        await system.start_stores()
        await system.start_services()
        yield system
    finally:
        await system.stop()
        await system.stop_stores()
