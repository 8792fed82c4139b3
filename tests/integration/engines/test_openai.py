"""The engine over an endpoint that somebody else runs."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from batch_gpu_runner.engines.base import CHAT, EMBEDDINGS, EngineStartError
from batch_gpu_runner.engines.sim.server import serve_sim
from support.engines import MakeEngine
from support.ports import free_port

MESSAGES = [{"role": "user", "content": "hi"}]


def chat(model: str) -> bytes:
    return msgspec.json.encode({"model": model, "messages": MESSAGES})


async def test_without_models_it_takes_those_that_are_listed(make_engine: MakeEngine) -> None:
    async with serve_sim(("a", "b")) as url:
        engine = make_engine("openai", base_url=f"{url}/v1")
        await engine.start()
        assert engine.models == ("a", "b")
        await engine.stop()


async def test_a_catalogue_is_not_taken_whole(make_engine: MakeEngine) -> None:
    async with serve_sim(tuple(f"m{n}" for n in range(30))) as url:
        engine = make_engine("openai", base_url=f"{url}/v1")
        with pytest.raises(EngineStartError, match="30 models; say which"):
            await engine.start()


async def test_a_mapped_model_is_theirs_on_the_way_there_and_ours_on_the_way_back(
    make_engine: MakeEngine,
) -> None:
    async with serve_sim(("theirs/big", "plain")) as url:
        engine = make_engine("openai", "ours=theirs/big", "plain", base_url=f"{url}/v1")
        await engine.start()
        assert engine.models == ("ours", "plain")
        for model in engine.models:
            answer = await engine.post(CHAT, chat(model), 5)
            assert answer.status == 200
            assert msgspec.json.decode(answer.body)["model"] == model
        await engine.stop()


async def test_its_death_is_never_told(make_engine: MakeEngine) -> None:
    async with serve_sim() as url:
        engine = make_engine("openai", base_url=f"{url}/v1")
        await engine.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.died(), 0.1)
        await engine.stop()


async def test_the_endpoints_can_be_narrowed(make_engine: MakeEngine) -> None:
    options = {"endpoints": "chat/completions, /v1/completions"}
    engine = make_engine("openai", base_url="http://h/v1", **options)
    assert engine.supports(CHAT)
    assert not engine.supports(EMBEDDINGS)


async def test_an_endpoint_that_is_down_is_named(make_engine: MakeEngine) -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    engine = make_engine("openai", base_url=address)
    with pytest.raises(EngineStartError, match=address):
        await engine.start()


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "api_key"), (404, "most end in /v1"), (503, "ready")]
)
async def test_a_refusal_says_what_to_check(
    make_engine: MakeEngine, status: int, remedy: str
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer sk-test"
        return web.json_response({"error": {"message": "no"}}, status=status)

    app = web.Application()
    app.router.add_get("/v1/models", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    engine = make_engine("openai", base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(EngineStartError, match=remedy) as caught:
        await engine.start()
    assert "sk-test" not in str(caught.value)
    await runner.cleanup()
