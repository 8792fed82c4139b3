"""The Dockerfiles of the services, taken apart."""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
SLIM: Final = (
    "services/gateway/Dockerfile",
    "services/scheduler/Dockerfile",
    "services/sinks/Dockerfile",
    "services/gpu_runner/Dockerfile.cpu",
)
ALL: Final = (*SLIM, "services/gpu_runner/Dockerfile")
_CONTINUED: Final = re.compile(r"\s*\\\n\s*")


class Step(NamedTuple):
    """`word`: RUN, COPY, …"""

    word: str
    rest: str


def stages(path: str) -> list[list[Step]]:
    """The steps of each stage, each stage with its FROM."""
    text = (ROOT / path).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Step]] = []
    for line in _CONTINUED.sub(" ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Step(word, rest.strip()))
    return found


def values(steps: list[Step], word: str) -> list[str]:
    return [step.rest for step in steps if step.word == word]
