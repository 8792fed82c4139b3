"""The shortest whole batch, run as it stands in the repository."""

import os
import subprocess
import sys
from pathlib import Path

from support.standalone import Standalone

EXAMPLE = Path(__file__).parents[2] / "examples" / "basic_batch.py"


def test_answers_and_errors_of_a_whole_batch(system: Standalone) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env=dict(os.environ) | {"OPENAI_BASE_URL": system.url, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *results = done.stdout.splitlines()
    assert first.startswith("batch_")
    assert first.endswith(" completed")
    said = dict(line.split(": ", 1) for line in results)
    assert set(said) == {"week", "colours", "too-hot failed"}
    assert all(said.values())
    assert said["too-hot failed"] == "HTTP 400"
