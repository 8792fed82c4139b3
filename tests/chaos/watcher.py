"""A user who keeps looking at his batches while they run."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from batch_common.state import BATCH_MOVES, TERMINAL, BatchStatus
from chaos.client import Client
from chaos.workload import Accepted, Workload

_EVERY_S = 0.7
# Once they are there they stay.
_FIXED = ("created_at", "in_progress_at", "cancelling_at", "expires_at", "metadata")


class Watcher:
    """Polls every batch that has not ended; what it sees must make sense from look to look."""

    def __init__(self, workload: Workload, clients: Mapping[str, Client]) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.ended_at: dict[str, float] = {}
        self.complaints: list[str] = []
        self._workload = workload
        self._clients = clients

    @property
    def open(self) -> list[str]:
        """The batches that have not ended, as far as is known."""
        known = [accepted.batch_id for accepted in self._workload.accepted]
        return [batch_id for batch_id in known if batch_id not in self.ended_at]

    def was_open(self, at: float) -> bool:
        """Whether there was work at that moment (Unix seconds)."""
        return any(
            seen["created_at"] <= at and self.ended_at.get(batch_id, at + 1) > at
            for batch_id, seen in self.batches.items()
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)

    async def all_ended(self) -> None:
        """Returns once every accepted batch has been seen to have ended."""
        while self.open:  # noqa: ASYNC110 - ended by looks, which end nothing for others to wait on
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Once at each; the lists show most of them at a glance."""
        seen: set[str] = set()
        for client in self._clients.values():
            listed = await client.try_once("GET", "/batches?limit=100")
            if listed is None or listed.status_code != 200:
                return  # the API is away; no use in asking more
            for batch in listed.json()["data"]:
                seen.add(batch["id"])
                if batch["id"] not in self.ended_at:
                    self._note(batch)
        for accepted in list(self._workload.accepted):
            if accepted.batch_id not in self.ended_at and accepted.batch_id not in seen:
                await self._look_at(accepted)

    async def _look_at(self, accepted: Accepted) -> None:
        client = self._clients[accepted.plan.key]
        answer = await client.try_once("GET", f"/batches/{accepted.batch_id}")
        if answer is None:
            return
        if answer.status_code == 200:
            self._note(answer.json())
        else:
            self.complaints.append(f"{accepted.batch_id}: {answer.status_code} on GET")

    def _note(self, seen: dict[str, Any]) -> None:
        before = self.batches.get(seen["id"])
        if before is not None:
            self.complaints += [f"{seen['id']}: {what}" for what in contradictions(before, seen)]
        self.batches[seen["id"]] = seen
        if BatchStatus(seen["status"]) in TERMINAL:
            self.ended_at[seen["id"]] = time.time()


def contradictions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What cannot be true of two looks at one batch, one after the other."""
    found = []
    moves = (BatchStatus(before["status"]), BatchStatus(after["status"]))
    if moves[1] not in reachable(moves[0]):
        found.append(f"went from {moves[0]} to {moves[1]}")
    total = before["request_counts"]["total"]
    if total and after["request_counts"]["total"] != total:
        found.append(f"had {total} requests, then {after['request_counts']['total']}")
    found += [
        f"{name} was {before[name]}, then {after[name]}"
        for name in _FIXED
        if before[name] is not None and before[name] != after[name]
    ]
    counts = after["request_counts"]
    if counts["completed"] + counts["failed"] > counts["total"]:
        found.append(f"counts more than there is: {counts}")
    return found


def reachable(status: BatchStatus) -> set[BatchStatus]:
    """The statuses that may be seen after it: looks miss some of those between."""
    found = {status}
    while more := {t for s in found for t in BATCH_MOVES.get(s, ())} - found:
        found |= more
    return found
