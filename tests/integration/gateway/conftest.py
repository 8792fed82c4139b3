"""A whole gateway on a free port, with a real nats-server, SQLite and a local blob store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Config, Gateway
from batch_common.db import Database, open_database
from batch_common.secret import ApiKeys
from batch_gateway.app import run
from support.nats_process import NatsProcess
from support.ports import free_port
from support.wait import until


class Served(msgspec.Struct):
    """A running gateway, and the stores behind it."""

    config: Config
    database: Database
    blobs: BlobStore
    http: httpx.AsyncClient
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config.gateway.port}"


Serve = Callable[..., Any]


@asynccontextmanager
async def gateway(folder: Path, nats: NatsProcess, **settings: Any) -> AsyncIterator[Served]:
    own = {"port": free_port(), "drain_s": 2.0, **settings.pop("gateway", {})}
    config = Config(data_dir=str(folder), nats=nats.settings, gateway=Gateway(**own), **settings)
    stop = asyncio.Event()
    task = asyncio.create_task(run(config, stop))
    url = f"http://127.0.0.1:{config.gateway.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def answers() -> bool:
            if task.done():
                task.result()
            try:
                return (await http.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, what="the gateway", within_s=20)
        database = open_database(config.database, folder)
        try:
            yield Served(config, database, open_blobs(config.blobs, folder), http, stop, task)
        finally:
            await database.close()
            stop.set()
            await asyncio.wait_for(task, 15)


@pytest.fixture
async def serve(nats_process: NatsProcess, tmp_path: Path) -> AsyncIterator[Serve]:
    """`await serve(limits=…, gateway={…})`: a gateway with these settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Served:
            return await stack.enter_async_context(gateway(tmp_path, nats_process, **settings))

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A gateway without keys, with the default limits."""
    result: Served = await serve()
    return result


@pytest.fixture
async def two_tenants(serve: Serve) -> Served:
    """Keys sk-a and sk-b of the tenants a and b."""
    result: Served = await serve(gateway={"api_keys": ApiKeys({"sk-a": "a", "sk-b": "b"})})
    return result
