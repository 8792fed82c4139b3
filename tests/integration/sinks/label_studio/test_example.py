"""The example, run as its first lines say: from a batch to tasks for reviewers."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import standalone as standing
from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi

EXAMPLE = Path(__file__).parents[4] / "examples" / "label_studio_integration.py"
LABELS = {"positive", "negative", "neutral", "mixed"}


def run_example(folder: Path, engine: str) -> str:
    """What it prints. The environment alone says where Label Studio is."""
    config = folder / "config.yml"
    config.write_text(EXAMPLE.read_text().split('"""')[1].split("\n\n")[1])
    arguments = ("--config", str(config))
    with standing.standalone(folder / "data", *arguments, engine=("--engine", engine)) as system:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE)],
            env=dict(os.environ) | {"OPENAI_BASE_URL": system.url, "OPENAI_API_KEY": "none"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
async def test_reviews_arrive_as_tasks_with_what_the_model_says(
    label_studio: LabelStudioApi,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the real one by a real model, which the schema keeps to the labels."""
    is_real = request.node.callspec.params["label_studio"] == "real"
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    engine = "llamacpp" if is_real else "sim"
    [said] = (await asyncio.to_thread(run_example, tmp_path, engine)).splitlines()
    found = re.fullmatch(rf"5 reviews to check at {label_studio.url}/projects/(\d+)/data", said)
    assert found is not None, said
    tasks = await label_studio.tasks(int(found[1]))
    assert {task["data"]["custom_id"] for task in tasks} == {f"review-{n}" for n in range(5)}
    assert all(task["data"]["text"].endswith(".") for task in tasks)
    if not is_real:
        return  # what the simulated model answers is no JSON
    for task in tasks:
        [prediction] = task["predictions"]
        [region] = prediction["result"]
        assert region["from_name"] == "label"
        assert set(region["value"]["choices"]) < LABELS
