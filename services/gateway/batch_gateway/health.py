"""`/healthz`: the process answers. `/readyz`: what it needs answers too, and who serves models."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from sqlalchemy import text

from batch_common import presence
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.db import Database
from batch_common.errors import BlobNotFoundError
from batch_common.events import GpuState, RunnerState
from batch_common.logs import get_log
from batch_gateway.objects import GpuHealth, ModelHealth, Readiness, RunnerHealth

log = get_log(__name__)

_CHECK_S: Final = 3.0
_OK: Final = "ok"


class Health:
    def __init__(self, database: Database, bus: Bus, blobs: BlobStore) -> None:
        self._database = database
        self._bus = bus
        self._blobs = blobs

    async def look(self) -> Readiness:
        """Never raises: what fails is named."""
        runners: list[RunnerState] = []

        async def nats() -> None:
            runners.extend(await presence.present(self._bus))

        checks = {"database": self._ask_database, "nats": nats, "blobs": self._ask_blobs}
        said = await asyncio.gather(*(_check(name, ask) for name, ask in checks.items()))
        return Readiness(
            status="ok" if all(word == _OK for word in said) else "unavailable",
            checks=dict(zip(checks, said, strict=True)),
            models=_by_model(runners),
            runners=[_runner(state) for state in sorted(runners, key=lambda s: s.runner)],
        )

    async def _ask_database(self) -> None:
        async with self._database.read() as conn:
            await conn.execute(text("SELECT 1"))

    async def _ask_blobs(self) -> None:
        try:
            await self._blobs.size("health/none")
        except BlobNotFoundError:
            return


async def _check(name: str, ask: Callable[[], Awaitable[None]]) -> str:
    """The answer is for anybody, so it names no address; the log has the rest."""
    try:
        async with asyncio.timeout(_CHECK_S):
            await ask()
    except TimeoutError:
        return f"no answer within {_CHECK_S:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is not ready
        log.warning("not_ready", check=name, error=str(error), kind=type(error).__name__)
        return "unavailable"
    return _OK


def _by_model(runners: list[RunnerState]) -> dict[str, ModelHealth]:
    counts: dict[str, int] = {}
    for runner in runners:
        for model in runner.models:
            counts[model.name] = counts.get(model.name, 0) + (runner.status == "ready")
    return {name: ModelHealth(count) for name, count in sorted(counts.items())}


def _runner(state: RunnerState) -> RunnerHealth:
    return RunnerHealth(
        id=state.runner,
        engine=state.engine,
        status=state.status,
        reason=state.reason,
        models=[model.name for model in state.models],
        in_flight=state.in_flight,
        gpus=[_gpu(gpu) for gpu in state.gpus],
    )


def _gpu(state: GpuState) -> GpuHealth:
    return GpuHealth(
        index=state.index,
        name=state.name,
        health=state.health,
        reason=state.reason,
        temperature_c=state.temperature_c,
    )


@get("/healthz", tags=["Health"])
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": _OK}


@get("/readyz", tags=["Health"])
async def readyz(health: NamedDependency[Health]) -> Response[Readiness]:
    """200 when database, NATS and blob store answer, else 503; runners and their models."""
    found = await health.look()
    return Response(found, status_code=200 if found.status == _OK else 503)


ROUTES = [healthz, readyz]
