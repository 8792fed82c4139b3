"""Somebody else's endpoint: overloaded, behind a broken proxy, away for a while."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from batch_gpu_runner.engines.sim.options import SimOptions
from batch_gpu_runner.engines.sim.server import serve_sim
from support.ports import free_port
from support.requests import CHAT
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

Handler = Callable[[web.Request], Awaitable[web.Response]]
ANSWER = b'{\n  "id": "chatcmpl-1",\n  "choices": []\n}\n'


@contextlib.asynccontextmanager
async def endpoint(chat: Handler) -> AsyncIterator[str]:
    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "sim"}]})

    app = web.Application()
    app.router.add_post(CHAT, chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


async def test_an_overloaded_endpoint_gets_the_time_it_asks_for(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    arrivals: list[float] = []

    async def chat(_: web.Request) -> web.Response:
        arrivals.append(time.monotonic())
        if len(arrivals) == 1:
            return web.json_response({"error": {}}, status=429, headers={"Retry-After": "1"})
        return web.Response(body=ANSWER, content_type="application/json")

    async with endpoint(chat) as url:
        runners.start(engine="openai", base_url=url, options=None, window=1)
        [ready] = await scheduler.plan(["one", "two"])
        await scheduler.release(ready)
        manifest = await scheduler.completed(ready)
    assert manifest.completed == 2
    # With a window of one nothing at all was sent meanwhile.
    assert arrivals[1] - arrivals[0] >= 1.0
    lines = await scheduler.lines(manifest.output)
    assert [line["response"]["body"]["id"] for line in lines] == ["chatcmpl-1"] * 2


async def test_a_proxys_page_stands_in_no_result(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    asked: list[bytes] = []

    async def chat(request: web.Request) -> web.Response:
        body = await request.read()
        asked.append(body)
        if b"bad" in body or asked.count(body) == 1:
            return web.Response(text="<html>upstream</html>", content_type="text/html")
        return web.Response(body=ANSWER, content_type="application/json")

    async with endpoint(chat) as url:
        runners.start(engine="openai", base_url=url, options=None, request_attempts=2)
        [ready] = await scheduler.plan(["good", "bad"])
        await scheduler.release(ready)
        manifest = await scheduler.completed(ready)
    assert (manifest.completed, manifest.failed, len(asked)) == (1, 1, 4)
    [line] = await scheduler.lines(manifest.errors)
    assert (line["custom_id"], line["error"]["code"]) == ("r1", "engine_error")
    assert "upstream" in line["error"]["message"]


async def test_an_endpoint_that_is_away_for_a_while_costs_no_result(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    port = free_port()
    [ready] = await scheduler.plan([f"q {number}" for number in range(60)])
    await scheduler.release(ready)
    async with serve_sim(options=SimOptions(requests_per_s=30), port=port):
        runners.start(engine="openai", base_url=f"http://127.0.0.1:{port}/v1", options=None,
                      window=2, flush_results=1)  # fmt: skip
        await until(lambda: any(c.completed for c in scheduler.claims), what="some work")
    async with serve_sim(port=port):
        manifest = await scheduler.completed(ready, within_s=40)
    assert (manifest.completed, manifest.failed) == (60, 0)
