"""Every crash point in the code path of a batch: who reaches it, and in which story.

Each is a run of its own on each side, in which the process kills itself there. `point/2`: not
the first time that it is passed, but the second.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from chaos.control import Place

SIDES: Final[tuple[Place, ...]] = ("before", "after")

# Story → service → points. chaos.crash_stories tells what happens in each.
MATRIX: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "plain": {
        "gateway": (
            "commit file begin", "put file", "commit file publish", "commit batch create",
            "commit outbox claim", "publish batch.submitted", "commit outbox sent",
        ),
        "scheduler": (
            "ack BATCHES", "commit batch examine", "put plan", "put plan/2", "commit batch start",
            "publish batch.in_progress", "commit chunk release", "commit outbox claim",
            "publish chunk.ready", "commit outbox sent", "commit lease take",
            "commit claim take", "answer chunk.claim", "commit chunk settle", "ack RESULTS",
            "commit batch finalise", "put results", "put results/2", "commit batch end",
            "publish batch.completed", "delete segment", "delete segment/2",
            "commit chunk swept",
        ),
        "runner": (
            "ask chunk.claim", "put segment", "put segment/2", "put chunk output",
            "put chunk errors", "put chunk manifest", "publish chunk.completed", "ack CHUNKS",
        ),
        "sinks": ("commit delivery claim", "commit delivery delivered", "ack BATCHES"),
    },
    "with a task schema": {
        "gateway": ("commit batch create",),
        "scheduler": (
            "put plan", "put plan/2", "put plan/3", "commit batch start", "commit chunk release",
            "publish chunk.ready",
        ),
        "runner": ("ask chunk.claim", "put segment"),
    },
    "without errors": {"scheduler": ("delete plan", "delete plan/2", "commit plan swept")},
    "model appears": {"scheduler": ("commit model seen",)},
    "scheduler leaves": {"scheduler": ("commit lease give back",)},
    "runner leaves": {"runner": ("nak CHUNKS",)},
    "finished twice": {
        "scheduler": ("delete chunk output", "delete chunk errors", "delete chunk manifest"),
    },
    "commit fails": {"scheduler": ("nak RESULTS",)},
    "chunk message lost": {"scheduler": ("commit chunk offer again",)},
    "stream lost": {"scheduler": ("commit outbox audit",)},
    "publish fails": {"gateway": ("commit outbox release",)},
    "cancelled": {
        "gateway": ("commit batch cancel", "publish batch.cancelling"),
        "scheduler": (
            "commit claim let go", "put chunk output", "put chunk errors", "put chunk manifest",
            "commit chunk settle", "commit chunk close unreleased", "commit batch end",
            "publish batch.cancelled",
        ),
        "runner": ("put segment", "ask chunk.claim/4", "ack CHUNKS"),
    },
    "expired": {
        "scheduler": (
            "put chunk manifest", "commit chunk close unreleased", "commit batch end",
            "publish batch.expired",
        ),
    },
    "expired unplanned": {"scheduler": ("commit batch expire unplanned",)},
    "invalid": {
        "scheduler": ("commit batch fail", "publish batch.failed"),
        "sinks": ("commit delivery skipped",),
    },
    "in parts": {
        "gateway": (
            "commit upload create", "put upload part", "commit upload part", "put file",
            "commit file begin", "commit upload complete",
        ),
    },
    "parts cancelled": {"gateway": ("commit upload cancel", "delete upload part")},
    "parts expired": {"gateway": ("delete upload part", "commit upload sweep")},
    "file refused": {"gateway": ("delete file", "commit file discard")},
    "files deleted": {
        "gateway": ("commit file delete",),
        "scheduler": (
            "delete file", "delete chunk output", "delete chunk errors", "delete results",
            "commit file purged",
        ),
    },
    "retried": {
        "gateway": ("commit file begin", "put file", "commit batch create with file"),
    },
    "key forgotten": {"gateway": ("commit idempotency sweep",)},
    "poison": {"runner": ("put chunk suspects",), "scheduler": ("delete chunk suspects",)},
    "plan lost": {"scheduler": ("commit plan lost",)},
    "webhook endpoint": {
        "gateway": (
            "commit webhook create", "commit webhook change", "commit webhook rotate",
            "ask webhook.test", "commit webhook delete",
        ),
        "scheduler": ("commit batch end", "commit webhook swept"),
        "sinks": ("answer webhook.test", "commit delivery claim", "commit delivery delivered"),
    },
    "receiver is slow": {"sinks": ("commit delivery keep",)},
    "receiver hesitates": {"sinks": ("commit delivery again",)},
    "receiver refuses": {
        "sinks": (
            "commit delivery failed", "commit outbox claim", "publish dead", "commit outbox sent",
        ),
    },
    "first start": {
        "gateway": ("commit migrate",),
        "scheduler": ("commit migrate", "commit installation", "put installation"),
    },
}  # fmt: skip

# Points that no run can reach, and why.
EXEMPT: Final[dict[str, str]] = {
    "nak BATCHES": "events only wake; their handlers have nothing that could fail",
    "commit delivery redrive": "an administrator's one statement: seen done, or asked again",
    "commit restore": "an administrator's one transaction, into an empty database: made again",
    "delete installation": "nothing of ours deletes it; people do, when a database is gone",
}


class Case(msgspec.Struct, frozen=True):
    """One run. skip: how often the point is passed unharmed first."""

    story: str
    service: str
    point: str
    side: Place
    skip: int

    def __str__(self) -> str:
        times = f" ({self.skip + 1}.)" if self.skip else ""
        return f"{self.story}: {self.service} {self.side} {self.point}{times}"


def cases(story: str) -> Iterator[Case]:
    for service, points in MATRIX[story].items():
        for entry in points:
            point, _, count = entry.partition("/")
            for side in SIDES:
                yield Case(story, service, point, side, int(count or 1) - 1)


def covered() -> frozenset[str]:
    """The points of all cases."""
    return frozenset(case.point for story in MATRIX for case in cases(story))
