"""docs/GPU.md says what the code does."""

import re
from pathlib import Path

from batch_gpu_runner.engines.memory_steps import STEPS
from batch_gpu_runner.gpu.xid import APPLICATION, FATAL, SUSPECT

PAGE = (Path(__file__).parents[3] / "docs" / "GPU.md").read_text("utf-8")


def test_every_xid_is_listed_under_its_kind() -> None:
    parts = re.split(r"\*\*(?:Fatal|Worth a look|An application's)\*\*", PAGE)[1:]
    for part, known in zip(parts, (FATAL, SUSPECT, APPLICATION), strict=True):
        listed = re.findall(r"^\| (\d+) \| (.+) \|$", part.split("\n## ")[0], re.MULTILINE)
        assert {int(number): words for number, words in listed if "\u00d7" not in words} == known


def test_the_steps_are_the_declared_ones() -> None:
    for number, step in enumerate(STEPS[1:], start=1):
        [row] = re.findall(rf"^\| {number} \| (\u00d7.*) \|$", PAGE, re.MULTILINE)
        cells = [cell.strip().removeprefix("\u00d7 ") for cell in row.split("|")]
        factors = [float(cell) if cell else 1.0 for cell in cells]
        assert factors == [step.sequences, step.batched_tokens, step.length, step.share]
