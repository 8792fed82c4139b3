"""A classification batch on a real model that is held to a task schema."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from openai import BadRequestError, OpenAI

from batch_gpu_runner.engines.demo_model import NAME
from support import standalone as standing
from support.batches import submit
from support.command_line import vllm_batch
from support.requests import chat_line, jsonl
from support.task_schemas import example
from support.wait import until

pytestmark = pytest.mark.slow

HANDLER = """
import json
from pathlib import Path

from batch_sinks import BatchMetadata, ResultHandler, Results


class Keep(ResultHandler):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        names = ("custom_id", "answer", "schema")
        kept = [{name: result[name] for name in names} for result in results]
        path = Path(self.folder) / batch_id
        path.with_suffix(".part").write_text(json.dumps(kept))
        path.with_suffix(".part").rename(path)
        return True
"""
TEXTS = (
    "I love this kettle: it boils fast and looks great.",
    "Broke after two days, and nobody answers my mails.",
    "The parcel arrived on Tuesday.",
    "Great sound, but the battery is a joke.",
)
ANSWER = example("classification").answer


@pytest.fixture
def system(tmp_path: Path) -> Iterator[standing.Standalone]:
    """On the model that comes as a package, with a schema that is not valid."""
    for name in ("schemas", "kept"):
        (tmp_path / name).mkdir()
    (tmp_path / "keep.py").write_text(HANDLER)
    typo = {"type": "object", "properties": {"label": {"type": "strin"}}}
    (tmp_path / "schemas" / "typo.json").write_text(json.dumps({"name": "typo", "answer": typo}))
    settings = {
        "schemas": {"folder": str(tmp_path / "schemas")},
        "result_handlers": {
            "enabled": ["keep"],
            "folder": str(tmp_path),
            "custom": {"keep": {"handler": "keep:Keep", "options": {"folder": f"{tmp_path}/kept"}}},
        },
    }
    config = tmp_path / "config.yml"
    config.write_text(json.dumps(settings))
    engine = ("--engine", "llamacpp")
    with standing.standalone(tmp_path / "data", "--config", str(config), engine=engine) as running:
        yield running


def line(number: int, **body: object) -> dict[str, object]:
    prompt = f"What is the sentiment? {TEXTS[number % len(TEXTS)]}"
    return chat_line(f"r{number}", prompt, model=NAME, max_tokens=60, **body)


@pytest.mark.timeout(240)
async def test_every_answer_is_json_of_the_schema(
    system: standing.Standalone, tmp_path: Path
) -> None:
    """But for a request that asks for words itself, which is flagged."""
    lines = [line(n, seed=n, temperature=1.0) for n in range(12)]
    lines.append(line(12, response_format={"type": "text"}))
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(lines))
    done = vllm_batch(
        "submit", str(path), "--schema", "classification", "--watch", url=system.url, within_s=200
    )
    assert done.returncode == 0, done.stderr
    batch_id = done.stdout.strip()
    kept = tmp_path / "kept" / batch_id
    await until(kept.exists, what="the delivery", within_s=30)
    results = {each["custom_id"]: each for each in json.loads(kept.read_text())}
    free = results.pop("r12")
    assert free["schema"]["valid"] is False
    assert len(results) == 12
    for result in results.values():
        assert result["schema"] == {
            "name": "classification",
            "version": "1",
            "valid": True,
            "errors": [],
        }
        jsonschema.validate(result["answer"], ANSWER)
        assert list(result["answer"]) == ["label", "confidence"]


def test_an_invalid_schema_is_refused_with_its_place(system: standing.Standalone) -> None:
    client = OpenAI(base_url=system.url, api_key="none", max_retries=0)
    with pytest.raises(BadRequestError) as refused:
        submit(client, jsonl([line(0)]), metadata={"schema": "typo"})
    assert "'typo' is not valid, at /answer/properties/label/type: " in str(refused.value)
    assert list(client.batches.list()) == []
