"""The handler: tasks in imports of a few hundred, each of them once."""

from collections.abc import AsyncIterator
from typing import Any

from batch_common import config
from batch_common.task_schema import TaskSchema
from batch_sinks.handler import BatchMetadata, Delivered, ResultHandler
from batch_sinks.label_studio.client import open_client
from batch_sinks.label_studio.imports import Import
from batch_sinks.label_studio.projects import Projects
from batch_sinks.label_studio.target import Target
from batch_sinks.label_studio.tasks import default_schema, make_task
from batch_sinks.results import Results


class LabelStudioHandler(ResultHandler):
    """A repeat leaves out what is there."""

    def __init__(self, settings: config.LabelStudio, target: Target) -> None:
        self._settings = settings
        self._target = target

    async def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> Delivered:
        schema = results.schema or default_schema(metadata["endpoint"])
        async with open_client(self._target, self._settings.timeout_s) as client:
            project_id = await Projects(client).ready(
                self._target.project_id, schema, metadata["tenant"]
            )
            importing = Import(client, project_id, batch_id, self._settings.tasks_at_once)
            await importing.run(make_tasks(batch_id, results, schema, metadata))
        return Delivered(link=self._target.link(project_id))


async def make_tasks(
    batch_id: str, results: Results, schema: TaskSchema, metadata: BatchMetadata
) -> AsyncIterator[dict[str, Any]]:
    """One for each result that has an answer."""
    async for window in results.windows():
        for result in window:
            if (task := make_task(batch_id, result, schema, metadata)) is not None:
                yield task
