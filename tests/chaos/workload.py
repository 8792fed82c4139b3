"""Users at work: they upload, create, cancel and delete, through the API alone."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from chaos.batch_plan import BatchPlan
from chaos.client import Client, NoAnswerError, json_of

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

    async def run(self) -> None:
        """Returns when every batch has been handed in, and cancelled where it was to be."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as users:
            for plan in self._plans:
                await asyncio.sleep(max(0.0, began + plan.at_s - time.monotonic()))
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
