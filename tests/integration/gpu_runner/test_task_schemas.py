"""A chunk whose batch has a task schema: what arrives at the engine."""

import json
from typing import Any

import msgspec
from aiohttp import web

from batch_common.blobs import BlobStore
from batch_common.events import ChunkReady
from batch_common.keys import plan_schema
from batch_common.task_schema import encode_task_schema
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.task_schemas import example
from support.wait import until

from .test_remote_endpoint import ANSWER, endpoint

SCHEMA = example("classification")


async def with_schema(blobs: BlobStore, ready: ChunkReady) -> ChunkReady:
    key = plan_schema(ready.batch_id)
    await blobs.put(key, encode_task_schema(SCHEMA))
    return msgspec.structs.replace(ready, schema_key=key)


class Endpoint:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append(json.loads(await request.read()))
        return web.Response(body=ANSWER, content_type="application/json")


async def test_every_request_asks_for_the_schema(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """And those of another batch, in the same runner, do not."""
    upstream = Endpoint()
    async with endpoint(upstream.chat) as url:
        runners.start(engine="openai", base_url=url, options=None)
        [ready] = await scheduler.plan([f"mine {n}" for n in range(20)])
        [other] = await scheduler.plan(["not mine"])
        ready = await with_schema(scheduler.blobs, ready)
        await scheduler.release(ready, other)
        manifest = await scheduler.completed(ready)
        await scheduler.completed(other)
    assert manifest.completed == 20
    forms = {each["messages"][0]["content"]: each.get("response_format") for each in upstream.asked}
    assert forms.pop("not mine") is None
    assert len(forms) == 20
    assert all(form["json_schema"]["schema"] == SCHEMA.answer for form in forms.values())


async def test_a_schema_that_is_missing_is_waited_for(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """No request is sent without it: the scheduler puts it back."""
    upstream = Endpoint()
    async with endpoint(upstream.chat) as url:
        runners.start(engine="openai", base_url=url, options=None)
        [ready] = await scheduler.plan(["one"])
        ready = msgspec.structs.replace(ready, schema_key=plan_schema(ready.batch_id))
        await scheduler.release(ready)
        await until(
            lambda: any(claim.released for claim in scheduler.claims), what="the chunk handed back"
        )
        assert upstream.asked == []
        await with_schema(scheduler.blobs, ready)
        await scheduler.completed(ready)
    assert "response_format" in upstream.asked[0]
