"""The project that a batch's tasks go to: the one that is set, or one for the task schema."""

import asyncio
import hashlib
from typing import Any, Final

import msgspec

from batch_common.logs import get_log
from batch_common.task_schema import TaskSchema
from batch_common.task_schema_text import writable
from batch_sinks.label_studio.client import Client
from batch_sinks.label_studio.interface import (
    CONTROLS,
    SHOWN_ANSWER,
    make_interface,
    options_of,
)
from batch_sinks.label_studio.refusal import MissingError
from batch_sinks.sink import DeliveryError

log = get_log(__name__)

# Longest title that Label Studio takes.
_TITLE_CHARS: Final = 50
# Projects become visible to one another out of order; after this both of two are.
_SETTLE_S: Final = 1.0
_BY_US: Final = "Results of vllm-batch-server"


class Project(msgspec.Struct, frozen=True):
    """tasks: how many it has; controls: its labelling interface, as Label Studio has parsed it"""

    id: int
    title: str = ""
    tasks: int | None = msgspec.field(default=None, name="task_number")
    controls: dict[str, Any] | None = msgspec.field(default=None, name="parsed_label_config")


class Projects:
    """Of one Label Studio."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ready(self, project_id: int | None, schema: TaskSchema, tenant: str) -> int:
        """The id of a project that has the schema's labelling interface."""
        if project_id is None:
            project = await self._of_schema(schema, tenant)
        else:
            project = await self._known(project_id)
        await self._set_interface(project, schema)
        return project.id

    async def _known(self, project_id: int) -> Project:
        try:
            return await self._read(project_id)
        except MissingError as error:
            raise MissingError(
                f"{error}: project {project_id} has been deleted, or is not one of the API key's "
                "organization. Set project_id (LABEL_STUDIO_PROJECT_ID) to one that is, or leave "
                "it out to have one made"
            ) from None

    async def _of_schema(self, schema: TaskSchema, tenant: str) -> Project:
        """Titles are not unique in Label Studio: of several projects the oldest is everybody's."""
        title = make_title(schema, tenant)
        found = await self._titled(title)
        if not found:
            made = await self._make(title, schema)
            await asyncio.sleep(_SETTLE_S)
            found = await self._titled(title) or [made]
        oldest, *others = found
        for other in others:
            await self._take_back(other)
        return await self._read(oldest.id)

    async def _titled(self, title: str) -> list[Project]:
        """The oldest first."""
        fields = "id,title,task_number"
        query = {"title": title, "ordering": "id", "page_size": "100", "include": fields}
        answer = await self._client.ask("GET", "api/projects/", query=query)
        projects = msgspec.convert(answer["results"], list[Project])
        found = [project for project in projects if project.title == title]
        return sorted(found, key=lambda project: project.id)

    async def _make(self, title: str, schema: TaskSchema) -> Project:
        body = {
            "title": title,
            "description": f"{_BY_US}: {schema.title or schema.name}",
            "label_config": make_interface(schema),
        }
        return msgspec.convert(await self._client.ask("POST", "api/projects/", body), Project)

    async def _take_back(self, project: Project) -> None:
        """One that was made when the oldest was. Where that fails, the next batch does it."""
        if project.tasks:
            return
        try:
            await self._client.ask("DELETE", f"api/projects/{project.id}/")
        except MissingError:
            return  # somebody else has done it
        except DeliveryError as error:
            log.warning("project_not_taken_back", project=project.id, error=str(error))

    async def _read(self, project_id: int) -> Project:
        return msgspec.convert(
            await self._client.ask("GET", f"api/projects/{project_id}/"), Project
        )

    async def _set_interface(self, project: Project, schema: TaskSchema) -> None:
        """One that a person has changed stays while it still asks our questions."""
        lacking = lacks(project.controls or {}, schema)
        if not lacking:
            return
        if project.tasks:
            raise DeliveryError(
                f"project {project.id} of Label Studio has tasks, and its labelling interface has "
                f"no {lacking} as the task schema {schema.name} has: give the batch a project of "
                "its own (leave project_id out), or change the interface in the project's settings"
            )
        body = {"label_config": make_interface(schema)}
        await self._client.ask("PATCH", f"api/projects/{project.id}/", body)


def make_title(schema: TaskSchema, tenant: str) -> str:
    """The same for the same tenant, schema and interface; others have other titles."""
    identity = "\0".join((tenant, schema.name, make_interface(schema)))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    words = " ".join(writable(schema.title or schema.name).split())
    if tenant != "default":
        words = f"{words}, {tenant}"
    return f"{words[: _TITLE_CHARS - len(digest) - 3].rstrip()} [{digest}]"


def lacks(controls: dict[str, Any], schema: TaskSchema) -> str | None:
    """The first of the schema's questions that an interface does not ask; None: it has them all."""
    for question in schema.questions:
        control = controls.get(question.name) or {}
        kind = CONTROLS[question.type]
        if control.get("type") != kind or SHOWN_ANSWER not in control["to_name"]:
            return f"question {question.name!r} of type {kind} about {SHOWN_ANSWER}"
        labels = control.get("labels") or ()
        missing = [option for option in options_of(question) if option not in labels]
        if missing:
            return f"option {missing[0]!r} of the question {question.name!r}"
    return None
