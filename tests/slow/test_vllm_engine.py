"""The engine `vllm` with a real vLLM, its CPU build."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import psutil
import pytest

from batch_gpu_runner.engines.base import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    RESPONSES,
    EngineLoad,
    EngineStartError,
)
from batch_gpu_runner.engines.managed import ManagedEngine
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings
from batch_gpu_runner.response_format import ResponseFormat
from batch_sinks.answer_check import AnswerCheck
from support.task_schemas import example
from support.vllm_environment import VllmSetup
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPTIONS = {"enforce_eager": "true", "max_model_len": "2048"}
BODIES = {
    CHAT: b'{"model":"smol","messages":[{"role":"user","content":"Say hi."}],"max_tokens":4}',
    COMPLETIONS: b'{"model":"smol","prompt":"Once upon","max_tokens":4}',
    RESPONSES: b'{"model":"smol","input":"Say hi.","max_output_tokens":4}',
}


def make(vllm: VllmSetup, model: Path, state_dir: Path) -> ManagedEngine:
    engine = create_engine(
        EngineSettings(
            engine="vllm",
            models=(f"smol={model}",),
            options=OPTIONS,
            python=str(vllm.python),
            state_dir=state_dir,
            start_timeout_s=400.0,
        )
    )
    assert isinstance(engine, ManagedEngine)
    return engine


async def test_it_serves_and_dies_with_all_its_processes(vllm: VllmSetup, tmp_path: Path) -> None:
    engine = make(vllm, vllm.model, tmp_path)
    await engine.start()
    for endpoint, body in BODIES.items():
        assert engine.supports(endpoint)
        answer = await engine.post(endpoint, body, 60)
        assert answer.status == 200, answer
        assert msgspec.json.decode(answer.body)["model"] == "smol"
    assert not engine.supports(EMBEDDINGS)
    for endpoint, body in BODIES.items():
        await follows_a_schema(engine, endpoint, body)
    answers = await asyncio.gather(*(engine.post(CHAT, BODIES[CHAT], 120) for _ in range(64)))
    assert {answer.status for answer in answers} == {200}
    assert await engine.load() == EngineLoad(waiting=0, running=0, kv_cache_usage=0.0)

    assert engine.pid is not None
    workers = psutil.Process(engine.pid).children(recursive=True)
    assert workers
    os.kill(engine.pid, signal.SIGKILL)
    assert "SIGKILL" in await asyncio.wait_for(engine.died(), 30)
    await until(lambda: not any(worker.is_running() for worker in workers), what="the workers' end")
    await engine.stop()


async def follows_a_schema(engine: ManagedEngine, endpoint: str, body: bytes) -> None:
    """vLLM takes a task schema in the place where it is laid."""
    if endpoint not in (CHAT, RESPONSES):
        return
    limit = {"max_output_tokens" if endpoint == RESPONSES else "max_tokens": 60}
    asked = msgspec.json.encode(msgspec.json.decode(body) | limit | {"temperature": 1.0})
    schema = example("classification")
    answer = await engine.post(endpoint, ResponseFormat(schema, endpoint).lay_into(asked), 120)
    assert answer.status == 200, answer
    result = {"response": {"status_code": 200, "body": msgspec.json.decode(answer.body)}}
    AnswerCheck(schema).mark([result])
    assert result["schema"]["valid"] is True, result


async def test_a_folder_without_a_model_fails_with_vllms_words(
    vllm: VllmSetup, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    engine = make(vllm, empty, tmp_path / "state")
    with pytest.raises(EngineStartError) as caught:
        await engine.start()
    assert str(empty) in caught.value.last_words
    assert "Check that the model exists" in str(caught.value)


async def test_an_option_vllm_does_not_know_fails_with_its_words(
    vllm: VllmSetup, tmp_path: Path
) -> None:
    settings = EngineSettings(
        engine="vllm",
        models=(f"smol={vllm.model}",),
        options={"no_such_option": "1"},
        python=str(vllm.python),
        state_dir=tmp_path,
    )
    with pytest.raises(EngineStartError) as caught:
        await create_engine(settings).start()
    assert "unrecognized arguments: --no-such-option=1" in caught.value.last_words
