"""Which of a batch's results are tasks of a project already."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from batch_common.formats.result import result_line
from batch_sinks.label_studio.client import Client
from batch_sinks.label_studio.columns import BATCH, RESULT

_PAGE: Final = 200


class Stored(msgspec.Struct, frozen=True):
    """lines: numbers of the results that have a task
    surplus: ids of tasks that repeat another, and that no reviewer has worked on
    """

    lines: set[int]
    surplus: list[int]


async def count_tasks(client: Client, project_id: int, batch_id: str) -> int:
    page = await _page(client, project_id, batch_id, after=0, size=1)
    return int(page["total"])


async def list_tasks(client: Client, project_id: int, batch_id: str) -> Stored:
    """Of tasks for the same result the oldest counts, so that everybody keeps the same one."""
    stored = Stored(set(), [])
    async for task in _tasks(client, project_id, batch_id):
        line = _line(task)
        if line is None:
            continue
        if line in stored.lines and not task.get("total_annotations"):
            stored.surplus.append(task["id"])
        stored.lines.add(line)
    return stored


async def remove_surplus(
    client: Client, project_id: int, batch_id: str, surplus: Sequence[int]
) -> None:
    """Nothing happens to other batches' tasks, whatever `surplus` says."""
    if not surplus:
        return  # a choice of none would be taken for one of all
    body = {
        "selectedItems": {"all": False, "included": list(surplus)},
        "filters": _all_of(_of_batch(batch_id)),
    }
    query = {"id": "delete_tasks", "project": str(project_id)}
    await client.ask("POST", "api/dm/actions/", body, query)


async def _tasks(client: Client, project_id: int, batch_id: str) -> AsyncIterator[dict[str, Any]]:
    """By their ids, since pages by number shift when a task is deleted meanwhile."""
    after = 0
    while tasks := (await _page(client, project_id, batch_id, after, _PAGE))["tasks"]:
        for task in tasks:
            after = max(after, task["id"])
            yield task


async def _page(client: Client, project_id: int, batch_id: str, after: int, size: int) -> Any:
    above = _filter("id", "greater", "Number", after)
    query = {"filters": _all_of(_of_batch(batch_id), above), "ordering": ["tasks:id"]}
    return await client.ask(
        "GET",
        "api/tasks/",
        query={
            "project": str(project_id),
            "page_size": str(size),
            "query": msgspec.json.encode(query).decode(),
        },
    )


def _of_batch(batch_id: str) -> dict[str, Any]:
    return _filter(f"data.{BATCH}", "equal", "String", batch_id)


def _all_of(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"conjunction": "and", "items": filters}


def _filter(column: str, operator: str, kind: str, value: str | int) -> dict[str, Any]:
    return {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": kind,
        "value": value,
    }


def _line(task: dict[str, Any]) -> int | None:
    """None for a task whose data somebody has changed."""
    try:
        return result_line(task["data"][RESULT])
    except (LookupError, TypeError, ValueError):
        return None
