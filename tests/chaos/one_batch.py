"""One batch, for runs that are about one thing."""

from typing import Final

from chaos.batch_plan import BatchPlan
from chaos.client import Client, json_of
from chaos.request_log import Served, read_served
from chaos.system import TENANTS, System
from chaos.workload import Workload
from support.wait import until

KEY: Final = next(iter(TENANTS))


class OneBatch:
    """A batch, seen through the API and the engines' logs."""

    def __init__(self, system: System, lines: int) -> None:
        self._system = system
        self._client = Client(system.url, KEY)
        self.plan = BatchPlan(
            number=1, at_s=0, kind="plain", key=KEY, endpoint="/v1/completions", lines=lines,
            wait_s=0,
        )  # fmt: skip
        self._workload = Workload([self.plan], {KEY: self._client})

    async def hand_in(self) -> None:
        await self._workload.run()
        assert self._workload.complaints == []

    def served(self) -> Served:
        return read_served(self._system.request_logs())

    async def computed(self, requests: int) -> None:
        await until(lambda: len(self.served().counted) >= requests, what=f"{requests} answers")

    async def completed(self, within_s: float = 90) -> None:
        [accepted] = self._workload.accepted

        async def ended() -> bool:
            batch = json_of(await self._client.ask("GET", f"/batches/{accepted.batch_id}"))
            assert batch["status"] in ("validating", "in_progress", "finalizing", "completed")
            return bool(batch["request_counts"]["completed"] == self.plan.lines)

        try:
            await until(ended, within_s=within_s, what="the batch's end")
        finally:
            await self.close()

    async def close(self) -> None:
        await self._client.close()
