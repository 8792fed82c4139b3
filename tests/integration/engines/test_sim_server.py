"""The simulated server over its sockets."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from batch_gpu_runner.engines.base import CHAT, Endpoint, Engine, EngineConnectionError
from batch_gpu_runner.engines.client import EngineClient
from batch_gpu_runner.engines.demo_model import demo_model
from batch_gpu_runner.engines.managed import ManagedEngine
from batch_gpu_runner.engines.sim.options import SimOptions
from batch_gpu_runner.engines.sim.server import serve_sim
from support.engines import MakeEngine
from support.wait import until


def chat(prompt: str, model: str = "sim") -> bytes:
    return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": prompt}]})


def brief(model: str) -> bytes:
    """A real model goes on for as long as it is let."""
    messages = [{"role": "user", "content": "hi"}]
    return msgspec.json.encode({"model": model, "messages": messages, "max_tokens": 4})


def logged(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def test_in_process_on_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "sim.sock"
    async with serve_sim(unix_socket=socket):
        client = EngineClient(Endpoint("http://sim/v1", unix_socket=str(socket)))
        client.open()
        assert (await client.post(CHAT, chat("a"), 5)).status == 200
        assert (await client.get("/health", 5)).status == 200
        assert (await client.get_models(5)).status == 200
        assert (await client.get("/nothing", 5)).status == 404
        await client.close()


async def test_an_unknown_model_is_not_found(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", "one", "two")
    await engine.start()
    assert engine.models == ("one", "two")
    assert (await engine.post(CHAT, chat("a", "two"), 5)).status == 200
    answer = await engine.post(CHAT, chat("a", "three"), 5)
    assert answer.status == 404
    assert b"`three` does not exist" in answer.body
    await engine.stop()


async def test_the_same_request_is_answered_the_same_after_a_restart(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine("sim")
    bodies = []
    for _ in range(2):
        await engine.start()
        bodies.append((await engine.post(CHAT, chat("same"), 5)).body)
        await engine.stop()
    assert bodies[0] == bodies[1]


async def test_failures_hit_the_same_requests_each_time(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", fail_rate="0.3")
    await engine.start()
    rounds = [
        [(await engine.post(CHAT, chat(str(n)), 5)).status for n in range(60)] for _ in range(2)
    ]
    assert rounds[0] == rounds[1]
    assert set(rounds[0]) == {200, 500}
    await engine.stop()


async def test_the_request_log_survives_a_kill(make_engine: MakeEngine, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    engine = make_engine("sim", request_log=str(log), hang_on="^hang")
    assert isinstance(engine, ManagedEngine)
    await engine.start()
    for number in range(20):
        await engine.post(CHAT, chat(f"question {number}"), 5)
    hanging = asyncio.create_task(engine.post(CHAT, chat("hang"), 30))
    await until(lambda: len(logged(log)) == 20, what="twenty lines")
    os.kill(engine.pid or 0, signal.SIGKILL)
    with pytest.raises(EngineConnectionError):
        await hanging
    assert [line["prompt"] for line in logged(log)] == [f"question {n}" for n in range(20)]
    assert {line["status"] for line in logged(log)} == {200}
    assert len({str(line["id"]) for line in logged(log)}) == 20
    await engine.stop()


async def test_what_was_served_before_a_crash_is_logged(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    engine = make_engine("sim", request_log=str(log), crash_on="boom")
    await engine.start()
    await engine.post(CHAT, chat("fine"), 5)
    with pytest.raises(EngineConnectionError):
        await engine.post(CHAT, chat("boom"), 5)
    assert "illegal memory access" in await engine.died()
    assert [line["prompt"] for line in logged(log)] == ["fine"]
    await engine.stop()


async def test_a_rate_holds_for_all_connections_together() -> None:
    async with serve_sim(options=SimOptions(requests_per_s=50)) as url:
        client = EngineClient(Endpoint(f"{url}/v1"))
        client.open()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.post(CHAT, chat(str(n)), 10) for n in range(25)))
        assert asyncio.get_running_loop().time() - began >= 0.45
        await client.close()


async def test_waiting_requests_show_in_the_load(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", requests_per_s="1", oom_above_tokens="100000")
    await engine.start()
    posts = [asyncio.create_task(engine.post(CHAT, chat(str(n)), 60)) for n in range(300)]

    async def is_full() -> bool:
        load = await engine.load()
        return load is not None and load.running == 256 and (load.waiting or 0) > 30

    await until(is_full, what="256 running requests and others waiting")
    load = await engine.load()
    assert load is not None
    assert 0 < (load.kv_cache_usage or 0) < 1
    await cancel(posts)
    await engine.stop()


async def test_what_waits_takes_no_memory_and_is_served_later(make_engine: MakeEngine) -> None:
    """Two at once fit, five would not."""
    engine = make_engine("sim", ttft_ms="50", oom_above_tokens="110", max_num_seqs="2")
    await engine.start()
    posts = [asyncio.create_task(engine.post(CHAT, chat(str(n)), 30)) for n in range(8)]
    gone = asyncio.create_task(engine.post(CHAT, chat("gone"), 30))
    await asyncio.sleep(0)
    gone.cancel()
    assert [(await post).status for post in posts] == [200] * 8
    await engine.stop()


async def test_steps_down_let_fewer_requests_run(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", ttft_ms="50", oom_above_tokens="110", max_num_seqs="8")
    engine.spare_memory(4)  # a quarter: two
    await engine.start()
    posts = [asyncio.create_task(engine.post(CHAT, chat(str(n)), 30)) for n in range(8)]
    assert [(await post).status for post in posts] == [200] * 8
    await engine.stop()


async def test_too_many_tokens_in_flight_kill_it(make_engine: MakeEngine) -> None:
    engine = make_engine("sim", ttft_ms="5000", oom_above_tokens="60")
    await engine.start()
    posts = [asyncio.create_task(engine.post(CHAT, chat(str(n)), 30)) for n in range(5)]
    assert "torch.OutOfMemoryError" in await asyncio.wait_for(engine.died(), 10)
    await cancel(posts)
    await engine.stop()


async def test_its_command_line_refuses_a_bad_option() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gpu_runner.engines.sim"),
        *("--port", "0", "--model", "m", "-o", "fail_rate=7"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"fail_rate" in errors


async def test_several_servers_of_several_models_stand_side_by_side(
    make_engine: MakeEngine,
) -> None:
    """Two models on llama.cpp are two servers, and each request reaches its own."""
    demo = demo_model()
    assert demo is not None
    engine: Engine = make_engine("llamacpp", f"a={demo.path}", f"b={demo.path}", n_parallel="1")
    await engine.start()
    for model in ("a", "b"):
        answer = await engine.post(CHAT, brief(model), 60)
        assert msgspec.json.decode(answer.body)["model"] == model
    assert engine.default_window == 4
    assert await engine.load() is not None
    with pytest.raises(EngineConnectionError, match="no model 'c'"):
        await engine.post(CHAT, chat("hi", "c"), 5)
    await engine.stop()


async def cancel(posts: list[asyncio.Task[object]]) -> None:
    for post in posts:
        post.cancel()
    await asyncio.gather(*posts, return_exceptions=True)
