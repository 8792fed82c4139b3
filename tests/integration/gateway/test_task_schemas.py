"""`metadata.schema`: found, checked and frozen when the batch is created."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from batch_common.config import Schemas
from batch_common.errors import ConfigError
from batch_common.tables import batches, task_schemas
from batch_common.task_schema import TaskSchema, decode_task_schema
from support.gateway import CHAT, make_batch

from .test_retry import ended, retry

MINE = {
    "name": "mine",
    "answer": {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "schemas"
    path.mkdir()
    write(path, MINE)
    return path


@pytest.fixture
async def served(serve: Any, folder: Path) -> Any:
    return await serve(schemas=Schemas(folder=str(folder)))


def write(folder: Path, schema: dict[str, Any], name: str | None = None) -> None:
    (folder / f"{name or schema['name']}.json").write_text(json.dumps(schema))


async def create(served: Any, name: str, endpoint: str = CHAT, **headers: str) -> Any:
    body = {
        "input_file_id": "file-x",
        "endpoint": endpoint,
        "completion_window": "24h",
        "metadata": {"schema": name},
    }
    return await served.http.post("/v1/batches", json=body, headers=headers)


async def kept(served: Any, batch_id: str) -> TaskSchema | None:
    """The schema that the batch's row names."""
    statement = (
        select(task_schemas.c.content)
        .join(batches, batches.c.task_schema == task_schemas.c.id)
        .where(batches.c.id == batch_id)
    )
    async with served.database.read() as conn:
        content = (await conn.execute(statement)).scalar()
    return None if content is None else decode_task_schema(content)


async def count(served: Any, table: Any) -> int:
    async with served.database.read() as conn:
        return int((await conn.execute(select(func.count()).select_from(table))).scalar_one())


@pytest.mark.parametrize("name", ["mine", "classification"])
async def test_a_batch_keeps_the_schema_that_it_names(served: Any, name: str) -> None:
    answer = await create(served, name)
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"schema": name}
    schema = await kept(served, answer.json()["id"])
    assert schema is not None
    assert schema.name == name


async def test_one_of_mine_goes_before_a_built_in_one(served: Any, folder: Path) -> None:
    write(folder, MINE | {"name": "classification"})
    schema = await kept(served, (await create(served, "classification")).json()["id"])
    assert schema is not None
    assert schema.answer == MINE["answer"]


async def test_a_batch_without_a_schema_has_none(served: Any) -> None:
    batch = await make_batch(served.http, metadata={"project": "mine"})
    assert await kept(served, batch["id"]) is None


async def test_an_edit_of_the_folder_changes_no_batch_that_is_there(
    served: Any, folder: Path
) -> None:
    before = (await create(served, "mine")).json()["id"]
    again = (await create(served, "mine")).json()["id"]
    assert await count(served, task_schemas) == 1
    write(folder, MINE | {"version": "2"})
    after = (await create(served, "mine")).json()["id"]
    versions = [(await kept(served, each)).version for each in (before, again, after)]  # type: ignore[union-attr]
    assert versions == ["1", "1", "2"]
    (folder / "mine.json").unlink()
    assert (await kept(served, before)) is not None


async def test_an_unknown_name_is_refused_with_the_known_ones(served: Any) -> None:
    for name in ("classify", "../mine", "", "examples/classification", "mine.json"):
        answer = await create(served, name)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == ("metadata.schema", "invalid_value")
        assert (
            "'candidate_evaluation', 'chat_completion', 'classification', 'mine'"
            in (error["message"])
        )
    assert await count(served, batches) == 0


async def test_an_invalid_schema_is_refused_with_the_place(served: Any, folder: Path) -> None:
    """And without telling where on the server its file is."""
    write(folder, {"name": "typo", "answer": {"type": "object", "properties": {"n": {"type": 1}}}})
    answer = await create(served, "typo")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("metadata.schema", "invalid_schema")
    assert "'typo' is not valid, at /answer/properties/n/type: " in error["message"]
    assert str(folder) not in error["message"]
    assert await count(served, batches) == 0


@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/completions"])
async def test_an_endpoint_without_a_form_of_answers_is_refused(served: Any, endpoint: str) -> None:
    answer = await create(served, "mine", endpoint)
    assert answer.status_code == 400
    assert "/v1/chat/completions, /v1/responses" in answer.json()["error"]["message"]


async def test_a_request_that_is_sent_again_is_not_checked_again(served: Any, folder: Path) -> None:
    key = {"idempotency-key": "once"}
    first = await create(served, "mine", **key)
    (folder / "mine.json").unlink()
    again = await create(served, "mine", **key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await create(served, "mine")).status_code == 400


async def test_a_folder_that_is_none_is_said_so_at_start(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schemas\.folder .* is no folder"):
        await serve(schemas=Schemas(folder=str(tmp_path / "nowhere")))


async def test_a_retry_has_the_schema_that_the_first_batch_had(served: Any, folder: Path) -> None:
    """Whatever has become of its file."""
    body = {"metadata": {"schema": "mine"}}
    old = await ended(served, [1, 2, 3], failed=[2], **body)
    write(folder, MINE | {"version": "2"})
    new = (await retry(served, old["id"])).json()
    assert new["metadata"]["schema"] == "mine"
    assert await kept(served, new["id"]) == await kept(served, old["id"])
    (folder / "mine.json").unlink()
    again = (await retry(served, old["id"])).json()
    assert await kept(served, again["id"]) == await kept(served, old["id"])
