"""A Label Studio, real or fake, and batches for it that end without the service."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from batch_common.blobs import BlobStore
from batch_common.config import LabelStudio
from batch_common.db import Database
from batch_common.secret import Secret
from batch_common.task_schema import TaskSchema
from batch_sinks.ended import EndedBatches
from batch_sinks.label_studio import projects
from batch_sinks.label_studio.handler import LabelStudioHandler
from batch_sinks.label_studio.target import find_target
from batch_sinks.sink import Item
from support.finished import Finished, finish
from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi
from support.label_studio_fake import FakeLabelStudio
from support.label_studio_server import LabelStudioServer
from support.task_schemas import example, keep_schema


@pytest.fixture(scope="session")
def real_label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    """One for all: it takes half a minute to start. Tests tell their projects apart."""
    server = LabelStudioServer(tmp_path_factory.mktemp("label-studio"))
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def fake() -> AsyncIterator[FakeLabelStudio]:
    server = FakeLabelStudio()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)])
def label_studio(request: pytest.FixtureRequest) -> LabelStudioApi:
    """What holds for the one holds for the other."""
    name = {"fake": "fake", "real": "real_label_studio"}[request.param]
    found: LabelStudioApi = request.getfixturevalue(name)
    return found


@pytest.fixture
def schema() -> TaskSchema:
    """A classification of this test's own, hence with a project of its own."""
    title = f"Sentiment {uuid.uuid4().hex[:8]}"
    return msgspec.structs.replace(example("classification"), title=title)


# For what the database has no part in.
on_sqlite = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)

TEXTS = tuple(
    f'{{"label": "{label}", "confidence": "low"}}' for label in ("positive", "negative", "neutral")
)


class Delivery:
    """One batch, delivered as often as `attempt` is called."""

    def __init__(self, database: Database, blobs: BlobStore, batch_id: str) -> None:
        self._database = database
        self._blobs = blobs
        self.batch_id = batch_id

    async def attempt(self, label_studio: LabelStudioApi, **settings: Any) -> int:
        """The id of the project that it went to, taken from the link."""
        own = {"url": label_studio.url, "api_key": LEGACY_TOKEN, **settings}
        own["api_key"] = Secret(own["api_key"])
        configured = LabelStudio(**own)
        handler = LabelStudioHandler(configured, find_target(configured, {}))
        batch = await EndedBatches(self._database, self._blobs).find(self.batch_id)
        about = batch.about(item(self.batch_id))
        delivered = await handler.handle(self.batch_id, await batch.results(), about)
        assert delivered.link is not None
        assert delivered.link.startswith(f"{label_studio.url}/projects/")
        return int(delivered.link.split("/")[-2])


def item(batch_id: str) -> Item:
    return Item(
        sink="label_studio",
        batch_id=batch_id,
        tenant="default",
        event_id="evt_1",
        event_type="batch.completed",
        ended_at=1700000000,
        attempt=1,
    )


End = Callable[..., Awaitable[Delivery]]


@pytest.fixture
def end(database: Database, blobs: BlobStore) -> End:
    """`await end(schema, lines=…)`: a batch of that schema, or None, that waits to be delivered."""

    async def ended(wanted: TaskSchema | None, **more: Any) -> Delivery:
        kept = None if wanted is None else await keep_schema(database, wanted)
        values = {"lines": 25, "texts": TEXTS, "sinks": (), "task_schema": kept, **more}
        return Delivery(database, blobs, await finish(database, blobs, Finished(**values)))

    return ended


@pytest.fixture(autouse=True)
def _settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "_SETTLE_S", 0.2)
