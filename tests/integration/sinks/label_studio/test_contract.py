"""What the handler relies on and promises, on the real Label Studio and on the fake."""

import asyncio
from typing import Any

import msgspec
import pytest

from batch_common.task_schema import Input, Question, TaskSchema
from batch_sinks.label_studio.columns import BATCH
from batch_sinks.sink import DeliveryError
from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi

from .conftest import End, on_sqlite

pytestmark = [on_sqlite, pytest.mark.timeout(300)]

ODD = 'a "b" <c> & \'d\' $e $10-20 ${f} {{g}} \t\U0001f642 name="h"'


def prediction(task: dict[str, Any]) -> dict[str, Any]:
    """By question."""
    [found] = task["predictions"]
    return {region["from_name"]: region["value"] for region in found["result"]}


async def test_each_result_is_a_task_with_a_prediction(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    batch = await end(schema, lines=25, fails=10)
    project_id = await batch.attempt(label_studio, tasks_at_once=10)
    tasks = {task["data"]["custom_id"]: task for task in await label_studio.tasks(project_id)}
    assert sorted(tasks) == sorted(f"r{n}" for n in range(1, 26) if n % 10)
    for n in (1, 2, 3):
        data = tasks[f"r{n}"]["data"]
        label = ("positive", "negative", "neutral")[n % 3]
        assert data["text"] == f"question {n}"
        assert data["answer"] == f'{{"label": "{label}", "confidence": "low"}}'
        assert (data[BATCH], data["tenant"], data["problems"]) == (batch.batch_id, "default", "")
        assert prediction(tasks[f"r{n}"]) == {"label": {"choices": [label]}}


async def test_a_repeat_imports_nothing_twice(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    batch = await end(schema)
    project_id = await batch.attempt(label_studio)
    before = await label_studio.tasks(project_id)
    assert await batch.attempt(label_studio) == project_id
    assert await label_studio.tasks(project_id) == before


async def test_what_is_missing_is_imported_and_nothing_else(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    batch = await end(schema)
    project_id = await batch.attempt(label_studio)
    before = {task["id"] for task in await label_studio.tasks(project_id)}
    gone = set(sorted(before)[5:15])
    await label_studio.delete_tasks(project_id, gone)
    await batch.attempt(label_studio, tasks_at_once=4)
    after = await label_studio.tasks(project_id)
    assert before - gone < {task["id"] for task in after}
    assert sorted(task["data"]["custom_id"] for task in after) == sorted(
        f"r{n}" for n in range(1, 26)
    )


async def test_tasks_that_came_twice_are_taken_away_again(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    """Race: an import whose answer was lost is still running when the next attempt looks."""
    batch = await end(schema)
    project_id = await batch.attempt(label_studio)
    before = await label_studio.tasks(project_id)
    again = [{"data": task["data"], "predictions": []} for task in before[:10]]
    await label_studio.ask("POST", f"/api/projects/{project_id}/import", again)
    assert len(await label_studio.tasks(project_id)) == 35
    await batch.attempt(label_studio)
    assert await label_studio.tasks(project_id) == before


async def test_a_repeated_task_that_a_reviewer_has_worked_on_stays(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    batch = await end(schema, lines=3)
    project_id = await batch.attempt(label_studio)
    [first, *_] = await label_studio.tasks(project_id)
    again = {"data": first["data"], "predictions": []}
    await label_studio.ask("POST", f"/api/projects/{project_id}/import", [again, again])
    worked_on = max(task["id"] for task in await label_studio.tasks(project_id))
    await label_studio.ask("POST", f"/api/tasks/{worked_on}/annotations/", {"result": []})
    await batch.attempt(label_studio)
    left = {task["id"] for task in await label_studio.tasks(project_id)}
    assert len(left) == 4
    assert {first["id"], worked_on} < left


async def test_batches_side_by_side_share_one_new_project(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    """Race: each looks before another has made it."""
    batches = [await end(schema) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(batch.attempt(label_studio) for batch in batches), return_exceptions=True
    )
    assert all(isinstance(outcome, int | DeliveryError) for outcome in outcomes), outcomes
    # SQLite's locks may have it refuse one with a 500, which is tried again then.
    found = [await batch.attempt(label_studio) for batch in batches]
    assert {found[0]} == {*found, *(each for each in outcomes if isinstance(each, int))}
    titled = [p for p in await label_studio.projects() if p["title"].startswith(schema.title)]
    assert [project["id"] for project in titled] == [found[0]]
    assert len(await label_studio.tasks(found[0])) == 75


async def test_two_attempts_at_once_leave_each_task_once(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    """Race: one that was thought dead goes on beside its successor."""
    batch = await end(schema)
    outcomes = await asyncio.gather(
        *(batch.attempt(label_studio, tasks_at_once=4) for _ in range(2)), return_exceptions=True
    )
    assert all(isinstance(outcome, int | DeliveryError) for outcome in outcomes), outcomes
    project_id = await batch.attempt(label_studio)
    names = [task["data"]["custom_id"] for task in await label_studio.tasks(project_id)]
    assert sorted(names) == sorted(f"r{n}" for n in range(1, 26))


EVERYTHING = TaskSchema(
    name="everything",
    title=ODD,
    answer={"type": "object"},
    inputs=(
        Input(name="answer", title="Has the name of a column of ours", source="/model"),
        Input(name="chat", title=ODD, source="/messages", show="chat"),
        *(
            Input(name=show, title=ODD, source="/model", show=show)
            for show in ("text", "html", "image", "json")
        ),
    ),
    questions=tuple(
        Question(name=kind, title=ODD, type=kind, options=options, required=True, source=f"/{kind}")
        for kind, options in (
            ("choice", (ODD, "plain")),
            ("choices", ("plain", ODD)),
            ("rating", ()),
            ("number", ()),
            ("text", ()),
            ("boolean", ()),
        )
    ),
)
ANSWER = {
    "choice": ODD,
    "choices": [ODD, "plain", "no option"],
    "rating": 4,
    "number": 2.5,
    "text": f"{ODD}\x00\ud800",
    "boolean": False,
}


async def test_every_kind_of_input_and_question(label_studio: LabelStudioApi, end: End) -> None:
    answers = (ANSWER, {}, {"choice": "no option", "rating": 9, "boolean": "yes"})
    texts = tuple(msgspec.json.encode(_half(answer)).decode() for answer in answers)
    batch = await end(EVERYTHING, lines=3, texts=texts)
    project_id = await batch.attempt(label_studio)
    tasks = {task["data"]["custom_id"]: task for task in await label_studio.tasks(project_id)}
    assert prediction(tasks["r3"]) == {
        "choice": {"choices": [ODD]},
        "choices": {"choices": [ODD, "plain"]},
        "rating": {"rating": 4},
        "number": {"number": 2.5},
        "text": {"text": [f"{ODD}\ufffd"]},
        "boolean": {"choices": ["no"]},
    }
    assert tasks["r1"]["predictions"] == tasks["r2"]["predictions"] == []
    assert tasks["r3"]["data"]["chat"] == [{"role": "user", "content": "question 3"}]


def _half(answer: dict[str, Any]) -> dict[str, Any]:
    """JSON text has no way to write half a surrogate pair that is not escaped."""
    return {k: v.replace("\ud800", "") if isinstance(v, str) else v for k, v in answer.items()}


async def test_a_batch_without_a_schema(label_studio: LabelStudioApi, end: End) -> None:
    batch = await end(None, lines=3, texts=("in words",))
    tasks = [
        task
        for task in await label_studio.tasks(await batch.attempt(label_studio))
        if task["data"][BATCH] == batch.batch_id
    ]
    assert [prediction(task) for task in tasks] == [{"edited": {"text": ["in words"]}}] * 3
    assert tasks[0]["data"]["prompt"][0]["role"] == "user"


async def test_a_project_that_is_set_gets_the_interface_while_it_is_empty(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    made = await label_studio.ask("POST", "/api/projects/", {"title": "Ours"})
    batch = await end(schema)
    assert await batch.attempt(label_studio, project_id=made["id"]) == made["id"]
    project = await label_studio.ask("GET", f"/api/projects/{made['id']}/")
    assert set(project["parsed_label_config"]) == {"label", "comment"}
    other = await end(None)
    with pytest.raises(DeliveryError, match=r"has tasks, and its .* no question 'edited'"):
        await other.attempt(label_studio, project_id=made["id"])
    assert len(await label_studio.tasks(made["id"])) == 25


async def test_an_interface_that_asks_more_stays(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    project_id = await (await end(schema)).attempt(label_studio)
    path = f"/api/projects/{project_id}/"
    config = (await label_studio.ask("GET", path))["label_config"]
    more = '<Rating name="more" toName="model-answer" /></View>'
    changed = config.replace("</View>", more)
    await label_studio.ask("PATCH", path, {"label_config": changed})
    await (await end(schema)).attempt(label_studio)
    assert (await label_studio.ask("GET", path))["label_config"] == changed
    assert len(await label_studio.tasks(project_id)) == 50


async def test_a_project_that_was_deleted(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    """One that is set is missed; one of ours is made anew."""
    batch = await end(schema)
    project_id = await batch.attempt(label_studio)
    await label_studio.ask("DELETE", f"/api/projects/{project_id}/")
    with pytest.raises(DeliveryError, match=rf"404.*project {project_id} has been deleted.*Set "):
        await batch.attempt(label_studio, project_id=project_id)
    assert len(await label_studio.tasks(await batch.attempt(label_studio))) == 25


async def test_a_personal_access_token(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    token = await label_studio.personal_token()
    assert token.count(".") == 2
    project_id = await (await end(schema)).attempt(label_studio, api_key=token)
    assert len(await label_studio.tasks(project_id)) == 25


@pytest.mark.parametrize("key", ["not-a-token", "not.a.token", f"{LEGACY_TOKEN[:-1]}8"])
async def test_a_wrong_key_is_named_but_not_shown(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema, key: str
) -> None:
    with pytest.raises(DeliveryError, match=r"answered 401 .*make a new one") as raised:
        await (await end(schema)).attempt(label_studio, api_key=key)
    assert key not in str(raised.value)


async def test_an_import_is_all_or_nothing(
    label_studio: LabelStudioApi, end: End, schema: TaskSchema
) -> None:
    project_id = await (await end(schema)).attempt(label_studio)
    [*_, task] = await label_studio.tasks(project_id)
    good = {"data": task["data"], "predictions": []}
    bad = {"data": {"batch_id": "b"}, "predictions": []}
    status, _ = await label_studio.try_to("POST", f"/api/projects/{project_id}/import", [good, bad])
    assert status == 400
    assert len(await label_studio.tasks(project_id)) == 25
