"""What the simulated engines have served, over all their lives."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

_MARK = re.compile(r"<(\d+-\d+)>")


class Served(msgspec.Struct, frozen=True):
    """answers: Unix seconds and mark of each good answer, sorted; by_answer: answer id → mark.

    A mark is the custom_id of a line.
    """

    answers: list[tuple[float, str]]
    counted: Counter[str]
    by_answer: dict[str, str]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.answers]

    @property
    def repeated(self) -> int:
        """Requests computed more than once, each counted as often as it was once too many."""
        return sum(count - 1 for count in self.counted.values())


def read_served(logs: Iterable[Path]) -> Served:
    """Only good answers count: what failed, on its own or by a fault, was not computed."""
    answers: list[tuple[float, str]] = []
    counted: Counter[str] = Counter()
    by_answer: dict[str, str] = {}
    for line in _lines(logs):
        mark = _MARK.search(line["prompt"])
        if mark is not None and line["status"] == 200 and "fault" not in line:
            answers.append((line["time"], mark[1]))
            counted[mark[1]] += 1
            by_answer[line["id"]] = mark[1]
    return Served(sorted(answers), counted, by_answer)


def _lines(logs: Iterable[Path]) -> Iterable[dict]:
    for log in logs:
        if log.exists():
            for line in log.read_bytes().splitlines():
                # A killed engine may leave half a line; a half line is no answer.
                if line.startswith(b"{") and line.endswith(b"}"):
                    yield json.loads(line)
