"""The whole system on the real vLLM says what vLLM's own tools say."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import OpenAI

from batch_gpu_runner.engines.base import COMPLETIONS
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings
from support.batches import content, wait
from support.requests import CHAT, chat_line, custom_ids, jsonl
from support.standalone import Standalone, start
from support.vllm_environment import VllmSetup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOPICS = ("rivers", "the moon", "bread", "chess", "whales", "rain", "trains", "honey")


@pytest.fixture(scope="module")
def vllm_system(vllm: VllmSetup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    engine = (
        *("--engine", "vllm", "--model", f"smol={vllm.model}", "-o", f"python={vllm.python}"),
        *("-o", "enforce_eager=true", "-o", "max_model_len=2048"),
    )
    started = start(tmp_path_factory.mktemp("vllm") / "data", engine=engine)
    yield started
    assert started.stop(within_s=60) == 0


def chats() -> list[dict[str, Any]]:
    return [
        chat_line(
            f"chat-{n}",
            f"Say one sentence about {TOPICS[n % 8]}, number {n // 8}.",
            model="smol",
            temperature=0,
            max_tokens=16,
        )
        for n in range(64)
    ]


def run_batch(vllm: VllmSetup, folder: Path, lines: list[dict[str, Any]]) -> bytes:
    """The reference: vLLM's own batch runner."""
    (folder / "in.jsonl").write_bytes(jsonl(lines))
    subprocess.run(
        [
            *(vllm.python, "-m", "vllm.entrypoints.openai.run_batch"),
            *("-i", folder / "in.jsonl", "-o", folder / "out.jsonl"),
            *("--model", vllm.model, "--served-model-name", "smol"),
            *("--enforce-eager", "--max-model-len", "2048"),
        ],
        check=True,
        timeout=400,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return (folder / "out.jsonl").read_bytes()


def choices(data: bytes) -> dict[str, Any]:
    """What was answered, by custom id."""
    answers = {}
    for line in map(json.loads, data.splitlines()):
        [choice] = line["response"]["body"]["choices"]
        message = choice.get("message")
        said = message["content"] if message else choice["text"]
        answers[line["custom_id"]] = (said, choice["finish_reason"])
    return answers


def run(system: Standalone, endpoint: str, lines: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    """Output and error file of a batch of `lines`."""
    client = OpenAI(base_url=system.url, api_key="none")
    file = client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
    )
    batch = wait(client, batch.id, within_s=300)
    assert batch.status == "completed"
    return content(client, batch.output_file_id), content(client, batch.error_file_id)


def test_chats_equal_run_batch(vllm: VllmSetup, vllm_system: Standalone, tmp_path: Path) -> None:
    output, errors = run(vllm_system, CHAT, chats())
    assert errors == b""
    assert choices(output) == choices(run_batch(vllm, tmp_path, chats()))


def test_completions_equal_the_bare_server(
    vllm: VllmSetup, vllm_system: Standalone, tmp_path: Path
) -> None:
    bodies = {
        f"c-{n}": {
            "model": "smol",
            "prompt": f"A short story about {TOPICS[n % 8]} ({n}):",
            "temperature": 0,
            "max_tokens": 12,
        }
        for n in range(16)
    }
    lines = [
        {"custom_id": name, "method": "POST", "url": COMPLETIONS, "body": body}
        for name, body in bodies.items()
    ]
    output, _ = run(vllm_system, COMPLETIONS, lines)
    settings = EngineSettings(
        engine="vllm",
        models=(f"smol={vllm.model}",),
        options={"enforce_eager": "true", "max_model_len": "2048"},
        python=str(vllm.python),
        state_dir=tmp_path,
    )
    assert choices(output) == asyncio.run(bare_server(settings, bodies))


async def bare_server(
    settings: EngineSettings, bodies: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    engine = create_engine(settings)
    await engine.start()
    try:
        answers = await asyncio.gather(
            *(engine.post(COMPLETIONS, msgspec.json.encode(b), 120) for b in bodies.values())
        )
    finally:
        await engine.stop()
    said = [json.loads(answer.body)["choices"][0] for answer in answers]
    return {
        name: (choice["text"], choice["finish_reason"])
        for name, choice in zip(bodies, said, strict=True)
    }


def test_a_bad_request_among_good_ones_fails_alone(vllm_system: Standalone) -> None:
    lines = [chat_line(f"g-{n}", "Hi", model="smol", max_tokens=4) for n in range(6)]
    lines.insert(3, chat_line("bad", "Hi", model="smol", temperature=-5))
    output, errors = run(vllm_system, CHAT, lines)
    assert sorted(custom_ids(output)) == [f"g-{n}" for n in range(6)]
    [failed] = map(json.loads, errors.splitlines())
    assert failed["custom_id"] == "bad"
    assert failed["error"] is None
    assert failed["response"]["status_code"] == 400
    assert "temperature" in failed["response"]["body"]["error"]["message"]
