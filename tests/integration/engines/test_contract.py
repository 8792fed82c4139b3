"""What the runner relies on, whatever the engine."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch_gpu_runner.engines.base import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    RESPONSES,
    Engine,
    EngineConnectionError,
    EngineStartError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.managed import ManagedEngine
from support.engines import MakeEngine, engine_maker
from support.wait import until

BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 3},
    COMPLETIONS: {"prompt": "Once upon", "max_tokens": 3},
    EMBEDDINGS: {"input": ["one", "two"]},
    RESPONSES: {"input": "Say hi.", "max_output_tokens": 3},
}


def body(engine: Engine, endpoint: str, **more: object) -> bytes:
    return msgspec.json.encode({"model": engine.models[0], **BODIES[endpoint], **more})


async def test_every_supported_endpoint_answers_with_the_models_name(engine: Engine) -> None:
    supported = [endpoint for endpoint in ENDPOINTS if engine.supports(endpoint)]
    assert CHAT in supported
    for endpoint in supported:
        answer = await engine.post(endpoint, body(engine, endpoint), 60)
        assert answer.status == 200, answer
        decoded = msgspec.json.decode(answer.body)
        assert decoded["model"] == engine.models[0]
        assert decoded["usage"]["total_tokens"] > 0


async def test_what_is_not_supported_is_refused_by_the_server_too(engine: Engine) -> None:
    for endpoint in ENDPOINTS:
        if not engine.supports(endpoint):
            answer = await engine.post(endpoint, body(engine, endpoint), 60)
            assert answer.status >= 400
    assert not engine.supports("/v1/images/generations")


async def test_a_bad_request_is_an_answer_and_no_exception(engine: Engine) -> None:
    bad = msgspec.json.encode({"model": engine.models[0], "messages": "not a list"})
    answer = await engine.post(CHAT, bad, 60)
    assert 400 <= answer.status < 500
    assert "error" in msgspec.json.decode(answer.body)


async def test_many_requests_at_once_are_all_answered(engine: Engine) -> None:
    posts = [engine.post(CHAT, body(engine, CHAT, seed=n), 60) for n in range(24)]
    assert {answer.status for answer in await asyncio.gather(*posts)} == {200}


async def test_the_load_is_told(engine: Engine) -> None:
    load = await engine.load()
    assert load is not None
    assert (load.waiting, load.running) == (0, 0)


async def test_stop_can_be_repeated_and_then_nothing_answers(engine: Engine) -> None:
    await engine.stop()
    await engine.stop()
    with pytest.raises(EngineConnectionError):
        await engine.post(CHAT, body(engine, CHAT), 5)
    assert await engine.load() is None


async def test_it_starts_again_after_a_stop(engine: Engine) -> None:
    await engine.stop()
    await engine.start()
    assert (await engine.post(CHAT, body(engine, CHAT), 60)).status == 200


async def test_a_killed_engine_is_noticed_and_starts_again(managed: ManagedEngine) -> None:
    died = asyncio.create_task(managed.died())
    assert managed.pid is not None
    os.kill(managed.pid, signal.SIGKILL)
    assert "SIGKILL" in await asyncio.wait_for(died, 10)
    with pytest.raises(EngineConnectionError):
        await managed.post(CHAT, body(managed, CHAT), 5)
    await managed.start()
    assert (await managed.post(CHAT, body(managed, CHAT), 60)).status == 200


async def test_requests_in_flight_fail_when_the_engine_is_killed(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", ttft_ms="30000")
    assert isinstance(engine, ManagedEngine)
    await engine.start()
    posts = [asyncio.create_task(engine.post(CHAT, body(engine, CHAT), 60)) for _ in range(5)]
    await until(lambda: running(engine, 5), what="five requests in flight")
    os.kill(engine.pid or 0, signal.SIGKILL)
    results = await asyncio.wait_for(asyncio.gather(*posts, return_exceptions=True), 10)
    assert all(isinstance(result, EngineConnectionError) for result in results), results
    await engine.stop()


async def test_requests_in_flight_fail_when_the_engine_is_stopped(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", ttft_ms="30000")
    await engine.start()
    post = asyncio.create_task(engine.post(CHAT, body(engine, CHAT), 60))
    await until(lambda: running(engine, 1), what="a request in flight")
    await engine.stop()
    with pytest.raises(EngineConnectionError):
        await asyncio.wait_for(post, 10)


async def test_stop_ends_the_wait_for_its_death(managed: ManagedEngine) -> None:
    died = asyncio.create_task(managed.died())
    await asyncio.sleep(0)
    await managed.stop()
    assert "exit code 0" in await asyncio.wait_for(died, 10)


async def test_the_last_words_of_a_crash_are_told(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", oom_on="too big")
    await engine.start()
    died = asyncio.create_task(engine.died())
    prompt = [{"role": "user", "content": "this is too big"}]
    with pytest.raises(EngineConnectionError):
        await engine.post(CHAT, body(engine, CHAT, messages=prompt), 10)
    assert "torch.OutOfMemoryError" in await asyncio.wait_for(died, 10)
    await engine.stop()


async def test_a_request_that_hangs_times_out_alone(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", hang_on="^hang")
    await engine.start()
    prompt = [{"role": "user", "content": "hang on"}]
    with pytest.raises(EngineTimeoutError):
        await engine.post(CHAT, body(engine, CHAT, messages=prompt), 0.3)
    assert (await engine.post(CHAT, body(engine, CHAT), 10)).status == 200
    await until(lambda: running(engine, 0), what="the engine has dropped the request")
    await engine.stop()


async def test_a_start_that_fails_tells_the_last_words(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", request_log="/nowhere/log")
    with pytest.raises(EngineStartError) as caught:
        await engine.start()
    assert "No such file or directory: '/nowhere/log'" in caught.value.last_words
    assert caught.value.last_words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.output_file is not None
    assert caught.value.output_file in str(caught.value)


async def test_a_model_file_that_is_none_fails_with_llama_cpps_words(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 64)
    engine = make_engine("llamacpp", str(broken))
    with pytest.raises(EngineStartError, match="GGUF model") as caught:
        await engine.start()
    assert "failed" in caught.value.last_words


async def test_a_state_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineStartError, match=r"runner\.state_dir"):
        await engine_maker(tmp_path / "file" / "state")("sim").start()


async def test_a_start_that_is_cancelled_leaves_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine("sim")
    assert isinstance(engine, ManagedEngine)
    starting = asyncio.create_task(engine.start())
    await until(lambda: engine.pid is not None, what="the engine's process")
    pid = engine.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


async def running(engine: Engine, count: int) -> bool:
    load = await engine.load()
    return load is not None and load.running == count
