"""Users at work: they upload, create, cancel and delete, through the API alone."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batch_common.state import TERMINAL
from batch_common.tasks import wait_any
from chaos.batch_plan import BatchPlan
from chaos.client import Client, NoAnswerError, json_of

# A batch that takes longer is not retried; that it does not end is for others to say.
_RETRY_WITHIN_S = 150.0
_LOOK_S = 1.0
_UNKNOWN_FILE = "file-01k0000000000000000000000000"


class Accepted(msgspec.Struct, frozen=True):
    """A batch that the API has promised to work on."""

    plan: BatchPlan
    batch_id: str


class Workload:
    """Plans in, accepted batches out."""

    def __init__(self, plans: Sequence[BatchPlan], clients: Mapping[str, Client]) -> None:
        self.accepted: list[Accepted] = []
        self.complaints: list[str] = []
        self._plans = plans
        self._clients = clients

    async def run(self, enough: asyncio.Event | None = None) -> None:
        """Returns when every batch has been handed in, and cancelled where it was to be.

        From `enough` on nothing new is handed in.
        """
        began, enough = time.monotonic(), enough or asyncio.Event()
        async with asyncio.TaskGroup() as users:
            for plan in self._plans:
                await wait_any(enough, timeout_s=max(0.0, began + plan.at_s - time.monotonic()))
                if enough.is_set():
                    break
                users.create_task(self._use(plan))

    async def _use(self, plan: BatchPlan) -> None:
        try:
            await self._hand_in(plan)
        except NoAnswerError as error:
            self.complaints.append(f"the API stayed away: {error}")
        except AssertionError as error:
            self.complaints.append(f"batch {plan.number} ({plan.kind}): {error}")

    async def _hand_in(self, plan: BatchPlan) -> None:
        client = self._clients[plan.key]
        file_id = await self._upload(client, plan)
        wanted = {
            "input_file_id": file_id,
            "endpoint": plan.endpoint,
            "completion_window": plan.window,
            "metadata": {"number": str(plan.number)},
        }
        batch = json_of(
            await client.ask("POST", "/batches", key=f"batch-{plan.number}", json=wanted)
        )
        self.accepted.append(Accepted(plan, batch["id"]))
        await asyncio.sleep(plan.wait_s)
        if plan.kind == "input deleted":
            gone = await client.ask("DELETE", f"/files/{file_id}")
            assert gone.status_code in (200, 404), gone.text  # 404: the first try had done it
        elif plan.kind == "cancelled":
            answer = await client.ask("POST", f"/batches/{batch['id']}/cancel")
            assert answer.status_code in (200, 409), answer.text  # 409: it has ended
        elif plan.kind == "retried":
            await self._retry(client, plan, batch["id"])

    async def _retry(self, client: Client, plan: BatchPlan, batch_id: str) -> None:
        """A batch of what stands in the error file, and of nothing else."""
        ended = await _ended(client, batch_id)
        if ended is None or ended["error_file_id"] is None:
            return
        failed = await _custom_ids(client, ended["error_file_id"])
        answer = await client.ask("POST", f"/batches/{batch_id}/retry", key=f"retry-{plan.number}")
        again = json_of(answer)
        asked = await _custom_ids(client, again["input_file_id"])
        assert sorted(asked) == sorted(failed), f"the retry asks for {asked}, {failed} had failed"
        self.accepted.append(Accepted(plan.retry(asked), again["id"]))

    async def _upload(self, client: Client, plan: BatchPlan) -> str:
        if plan.kind == "unknown file":
            return _UNKNOWN_FILE
        answer = await client.ask(
            "POST",
            "/files",
            key=f"file-{plan.number}",
            data={"purpose": "batch"},
            files={"file": (f"{plan.number}.jsonl", plan.input())},
        )
        return str(json_of(answer)["id"])


async def _ended(client: Client, batch_id: str) -> dict[str, Any] | None:
    """None: it has not, although there was time."""
    deadline = time.monotonic() + _RETRY_WITHIN_S
    while time.monotonic() < deadline:
        batch = json_of(await client.ask("GET", f"/batches/{batch_id}"))
        if batch["status"] in TERMINAL:
            return batch
        await asyncio.sleep(_LOOK_S)
    return None


async def _custom_ids(client: Client, file_id: str) -> list[str]:
    answer = await client.ask("GET", f"/files/{file_id}/content")
    assert answer.status_code == 200, f"{file_id}: {answer.status_code} {answer.text}"
    return [json.loads(line)["custom_id"] for line in answer.content.splitlines()]
