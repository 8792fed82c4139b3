"""Importing a batch's tasks, each of them once.

An import is one transaction of Label Studio's, but it does not know a request that is made again:
so an attempt leaves out what it finds there. An import whose answer was lost may still be running
then, so what has come twice all the same is taken away at the end.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from batch_common.formats.result import result_line
from batch_sinks.label_studio.client import Client
from batch_sinks.label_studio.columns import RESULT
from batch_sinks.label_studio.stored import count_tasks, list_tasks, remove_surplus
from batch_sinks.sink import DeliveryError
from batch_sinks.storable import storable_json

# An import's tasks are in memory, here and there: fewer of them where they are long.
_IMPORT_BYTES: Final = 4 << 20
# How often an import that runs in the background is asked for.
_POLL_S: Final = 1.0


class Import:
    """Of one batch, into one project, by one attempt."""

    def __init__(self, client: Client, project_id: int, batch_id: str, tasks_at_once: int) -> None:
        self._client = client
        self._project_id = project_id
        self._batch_id = batch_id
        self._tasks_at_once = tasks_at_once

    async def run(self, tasks: AsyncIterator[dict[str, Any]]) -> None:
        """`tasks`: all of the batch's. Raises DeliveryError."""
        total, waiting, size = 0, list[bytes](), 0
        stored = await self._stored()
        async for task in tasks:
            total += 1
            if result_line(task["data"][RESULT]) in stored:
                continue
            waiting.append(storable_json(task))
            size += len(waiting[-1])
            if len(waiting) == self._tasks_at_once or size >= _IMPORT_BYTES:
                await self._send(waiting)
                waiting, size = [], 0
        if waiting:
            await self._send(waiting)
        await self._check(total)

    async def _stored(self) -> set[int]:
        """Mostly nothing, and then there is nothing to list."""
        if not await self._count():
            return set()
        return (await list_tasks(self._client, self._project_id, self._batch_id)).lines

    async def _send(self, tasks: list[bytes]) -> None:
        path = f"api/projects/{self._project_id}/import"
        answer = await self._client.ask("POST", path, [msgspec.Raw(task) for task in tasks])
        if "import" in answer:
            await self._wait(answer["import"])

    async def _wait(self, number: int) -> None:
        """Until an import is done that its server, other than the open edition, does later."""
        path = f"api/projects/{self._project_id}/imports/{number}/"
        while (state := await self._client.ask("GET", path))["status"] != "completed":
            if state["status"] == "failed":
                raise DeliveryError(
                    f"Label Studio has given up import {number} into project {self._project_id}: "
                    "its log says why"
                )
            await asyncio.sleep(_POLL_S)

    async def _check(self, total: int) -> None:
        if await self._count() == total:
            return
        stored = await list_tasks(self._client, self._project_id, self._batch_id)
        await remove_surplus(self._client, self._project_id, self._batch_id, stored.surplus)
        if missing := total - len(stored.lines):
            raise DeliveryError(
                f"{missing} of {total} tasks have gone from project {self._project_id} of Label "
                "Studio while the others came, and are imported again"
            )

    async def _count(self) -> int:
        return await count_tasks(self._client, self._project_id, self._batch_id)
