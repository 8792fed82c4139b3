"""What one batch asks for: pure data, made from a seed, so that a run can be repeated."""

import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from chaos.system import ABSENT_MODEL, MODELS, TENANTS
from support.requests import jsonl

_ENDPOINTS: Final = (
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
)
_POISON: Final = ("POISON-CRASH", "POISON-OOM", "POISON-HANG")
# How often each kind comes, out of their sum.
BATCH_KINDS: Final = {
    "plain": 6,
    "several models": 3,
    "failing": 2,
    "large": 1,
    "cancelled": 4,
    "expiring": 2,
    "invalid": 1,
    "unknown file": 1,
    "input deleted": 2,
    "poison": 2,
    "retried": 2,
}
_ENDS: Final = {
    "cancelled": {"cancelled", "completed"},
    "expiring": {"expired"},
    "invalid": {"failed"},
    "unknown file": {"failed"},
    "input deleted": {"completed", "failed"},
}


class BatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """at_s: after the system serves; wait_s: before it is cancelled, or its input deleted.

    only: the lines that a retry asks for once more; none: all of them.
    """

    number: int
    at_s: float
    kind: str
    key: str
    endpoint: str
    lines: int
    wait_s: float
    poison: str = ""
    only: tuple[int, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        """Its lines in the order of its input, numbered as they were first handed in."""
        return self.only or range(self.lines)

    def retry(self, custom_ids: Sequence[str]) -> "BatchPlan":
        """Of these lines, in the order of the new input."""
        only = tuple(number_of(name) for name in custom_ids)
        return msgspec.structs.replace(self, kind="retry", lines=len(only), only=only)

    def place(self, custom_id: str) -> int:
        """Of the line in its input, counted from 1; 0: it is not there."""
        number = number_of(custom_id)
        return self.numbers.index(number) + 1 if number in self.numbers else 0

    @property
    def window(self) -> str:
        return "1m" if self.kind == "expiring" else "24h"

    @property
    def ends(self) -> frozenset[str]:
        """The terminal statuses that a user may see."""
        return frozenset(_ENDS.get(self.kind, {"completed"}))

    def custom_id(self, line: int) -> str:
        return f"{self.number}-{line}"

    def is_refused(self, line: int) -> bool:
        """The engine answers 400: the line belongs into the error file."""
        return self.kind in ("failing", "retried", "retry") and line % 7 == 3

    def is_poison(self, line: int) -> bool:
        return bool(self.poison) and line == self.lines // 2

    def model(self, line: int) -> str:
        if self.kind == "expiring" and line % 3 == 0:
            return ABSENT_MODEL
        if self.kind == "several models":
            return MODELS[line % len(MODELS)]
        return MODELS[self.number % len(MODELS)]

    def prompt(self, line: int) -> str:
        """Begins with a mark by which the engine's log names the line."""
        poison = f" {self.poison}" if self.is_poison(line) else ""
        return f"<{self.custom_id(line)}>{poison} and then, what of document {line // 8}?"

    def input(self) -> bytes:
        """The file as the user uploads it."""
        lines = jsonl(self._line(line) for line in range(self.lines))
        return lines + b"this is not JSON\n" if self.kind == "invalid" else lines

    def _line(self, line: int) -> dict[str, Any]:
        body = _asking(self.endpoint, self.prompt(line)) | {"model": self.model(line)}
        if self.is_refused(line):
            body = {"model": self.model(line)} | _REFUSED[self.endpoint]
        return {
            "custom_id": self.custom_id(line),
            "method": "POST",
            "url": self.endpoint,
            "body": body,
        }


def number_of(custom_id: str) -> int:
    """The line's, as it was first handed in."""
    return int(custom_id.rpartition("-")[2])


# Valid to the API, which leaves parameters to the engine.
_REFUSED: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "temperature": 9},
    "/v1/completions": {"prompt": "x", "temperature": 9},
    "/v1/embeddings": {"input": "x", "dimensions": 0},
    "/v1/responses": {"input": "x", "temperature": 9},
}


def _asking(endpoint: str, prompt: str) -> dict[str, Any]:
    match endpoint:
        case "/v1/chat/completions":
            return {"messages": [{"role": "user", "content": prompt}]}
        case "/v1/completions":
            return {"prompt": prompt}
    return {"input": prompt}


def plan_batches(
    seed: int, seconds: float, requests_per_s: float, kinds: tuple[str, ...] = tuple(BATCH_KINDS)
) -> tuple[BatchPlan, ...]:
    """Batches that together ask for about so many requests in a second."""
    rng = random.Random(f"batches of {seed}")
    found: list[BatchPlan] = []
    at_s = 0.0
    while at_s < seconds:
        plan = _draw(rng, len(found), at_s, kinds)
        found.append(plan)
        at_s += plan.lines / requests_per_s * rng.uniform(0.5, 1.5)
    return tuple(found)


def _draw(rng: random.Random, number: int, at_s: float, kinds: tuple[str, ...]) -> BatchPlan:
    kind = rng.choices(kinds, [BATCH_KINDS[kind] for kind in kinds])[0]
    lines = rng.randint(400, 600) if kind == "large" else rng.randint(1, 160)
    return BatchPlan(
        number=number,
        at_s=round(at_s, 2),
        kind=kind,
        key=rng.choice(sorted(TENANTS)),
        endpoint=rng.choice(_ENDPOINTS),
        lines=lines,
        wait_s=round(rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 8))), 2),
        poison=rng.choice(_POISON) if kind == "poison" else "",
    )
