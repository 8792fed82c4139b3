"""What goes wrong between us and Label Studio, on the fake, which fails when it is told to."""

import asyncio

import pytest

from batch_common.task_schema import TaskSchema
from batch_sinks.label_studio import imports
from batch_sinks.sink import DeliveryError
from support.label_studio_api import LEGACY_TOKEN
from support.label_studio_fake import FakeLabelStudio, Fault
from support.ports import free_port

from .conftest import Delivery, End, on_sqlite

pytestmark = on_sqlite


@pytest.fixture
async def batch(end: End, schema: TaskSchema) -> Delivery:
    return await end(schema)


def names(fake: FakeLabelStudio) -> list[str]:
    return sorted(task["data"]["custom_id"] for task in fake.tasks_by_id.values())


ALL = sorted(f"r{n}" for n in range(1, 26))


async def test_an_import_whose_answer_was_lost_is_not_made_again(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    """It took effect all the same."""
    fake.faults = [Fault("POST", "/import", status=None)]
    with pytest.raises(DeliveryError, match=r"broke off POST api/projects/1/import"):
        await batch.attempt(fake, tasks_at_once=10)
    assert len(names(fake)) == 10
    await batch.attempt(fake, tasks_at_once=10)
    assert names(fake) == ALL
    imported = [path for method, path in fake.requests if path.endswith("/import")]
    assert len(imported) == 3


async def test_a_project_whose_answer_was_lost_is_found_again(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    fake.faults = [Fault("POST", "/api/projects/", status=None)]
    with pytest.raises(DeliveryError, match="broke off POST api/projects/"):
        await batch.attempt(fake)
    await batch.attempt(fake)
    assert len(fake.projects_by_id) == 1


async def test_three_that_make_a_project_at_once_keep_the_oldest(
    fake: FakeLabelStudio, end: End, schema: TaskSchema
) -> None:
    """Race: each has seen that there is none. Titles are not unique in Label Studio."""
    fake.makers = asyncio.Barrier(3)
    batches = [await end(schema, lines=3) for _ in range(3)]
    found = await asyncio.gather(*(batch.attempt(fake) for batch in batches))
    assert found == [1, 1, 1]
    assert list(fake.projects_by_id) == [1]
    assert len(fake.tasks_by_id) == 9


async def test_a_project_that_could_not_be_taken_back_goes_with_the_next_batch(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    """One with tasks stays: somebody may be at work in it."""
    first = await batch.attempt(fake)
    for project_id in (501, 502):
        fake.projects_by_id[project_id] = fake.projects_by_id[first] | {"id": project_id}
    fake.tasks_by_id[503] = {"id": 503, "project": 502, "data": {}, "predictions": []}
    fake.faults = [Fault("DELETE", "/501/", 500)]
    assert await batch.attempt(fake) == first
    assert list(fake.projects_by_id) == [first, 501, 502]
    assert await batch.attempt(fake) == first
    assert list(fake.projects_by_id) == [first, 502]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (302, "302 .*redirects are not followed: set the URL"),
        (401, "401 .*make a new one under Account"),
        (403, "403 .*give the user the role"),
        (413, "413 .*lower result_handlers.label_studio.tasks_at_once"),
        (429, "429 .*asks for fewer requests"),
        (500, "500 .*its log says more"),
        (200, "something else than JSON: is it Label Studio"),
        (0, r"did not answer POST .*within 0.5 s: .*raise result_handlers.label_studio.timeout_s"),
    ],
)
async def test_a_failed_import_says_what_to_do_and_is_made_later(
    fake: FakeLabelStudio, batch: Delivery, status: int, said: str
) -> None:
    fake.faults = [Fault("POST", "/import", status)]
    with pytest.raises(DeliveryError, match=said) as raised:
        await batch.attempt(fake, timeout_s=0.5)
    assert LEGACY_TOKEN not in str(raised.value)
    assert fake.faults == []
    await batch.attempt(fake)
    assert names(fake) == ALL


async def test_what_is_refused_is_told_without_the_task(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    """Label Studio quotes all of it, the request and the answer."""
    project_id = await batch.attempt(fake)
    fake.tasks_by_id.clear()
    project = fake.projects_by_id[project_id]
    odd = '<Text name="odd" value="$odd" /></View>'
    project["label_config"] = project["label_config"].replace("</View>", odd)
    with pytest.raises(DeliveryError, match=r'400 .*"odd" key is expected') as raised:
        await batch.attempt(fake)
    assert "question" not in str(raised.value)


async def test_an_access_token_that_has_run_out_is_bought_again(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    token = await fake.personal_token()
    fake.faults = [Fault("POST", "/import", 401)]
    await batch.attempt(fake, api_key=token, tasks_at_once=10)
    assert names(fake) == ALL
    assert [path for _, path in fake.requests].count("/api/token/refresh/") == 2


async def test_a_personal_token_that_was_revoked_is_a_clear_error(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    with pytest.raises(DeliveryError, match=r"401 to the API key \(Token is invalid") as raised:
        await batch.attempt(fake, api_key="a.b.c")
    assert "a.b.c" not in str(raised.value)


async def test_a_project_that_goes_while_tasks_come_is_made_anew(
    fake: FakeLabelStudio, batch: Delivery
) -> None:
    fake.faults = [Fault("POST", "/import", 404)]
    with pytest.raises(DeliveryError, match="404"):
        await batch.attempt(fake)
    fake.projects_by_id.clear()
    await batch.attempt(fake)
    assert names(fake) == ALL


async def test_tasks_that_go_while_others_come_are_noticed(
    fake: FakeLabelStudio, batch: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = await batch.attempt(fake)
    fake.tasks_by_id = dict(list(fake.tasks_by_id.items())[:20])

    async def nothing(*_: object) -> None:
        """The import is said to have been made."""

    with monkeypatch.context() as patch:
        patch.setattr(imports.Import, "_send", nothing)
        with pytest.raises(DeliveryError, match=f"5 of 25 tasks .* project {project_id}"):
            await batch.attempt(fake)
    await batch.attempt(fake)
    assert names(fake) == ALL


async def test_an_edition_that_imports_later_is_waited_for(
    fake: FakeLabelStudio, batch: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_POLL_S", 0.01)
    fake.looks = 3
    await batch.attempt(fake, tasks_at_once=10)
    assert names(fake) == ALL
    fake.tasks_by_id.clear()
    fake.looks = 0
    with pytest.raises(DeliveryError, match=r"given up import \d+ into project"):
        await batch.attempt(fake)


async def test_a_server_that_is_not_there(fake: FakeLabelStudio, batch: Delivery) -> None:
    fake.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DeliveryError, match=r"cannot be reached: is it running.*\(Cannot connect"):
        await batch.attempt(fake)
