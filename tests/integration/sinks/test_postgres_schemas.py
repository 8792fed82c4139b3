"""Answers of batches with a task schema, in columns of a real Postgres."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from batch_common.blobs import BlobStore
from batch_common.config import Postgres
from batch_common.db import Database
from batch_common.secret import Secret
from batch_common.task_schema import TaskSchema
from batch_sinks.ended import EndedBatches
from batch_sinks.postgres import PostgresHandler
from batch_sinks.sink import DeliveryError
from support.finished import Finished, finish
from support.task_schemas import example, keep_schema, schema_of

from .conftest import on_sqlite
from .test_postgres import ITEM

pytestmark = on_sqlite

TAGGED = schema_of(
    {
        "label": {"type": "string"},
        "score": {"type": "number"},
        "count": {"type": "integer"},
        "sure": {"type": "boolean"},
        "tags": {"type": "array"},
        'Odd "name"': {"type": "string"},
    }
)
ANSWER = {
    "label": "gr\0at",
    "score": 0.5,
    "count": 3,
    "sure": True,
    "tags": ["a", {"b": None}],
    'Odd "name"': "x",
}
BASE = (
    "batch_id text, custom_id text, tenant text, model text, status_code int, request jsonb, "
    "response jsonb, error jsonb, PRIMARY KEY (batch_id, custom_id)"
)


@pytest.fixture
async def theirs(postgres_url: str) -> AsyncIterator[Any]:
    conn = await asyncpg.connect(postgres_url)
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=json.loads)
    yield conn
    await conn.close()


Deliver = Callable[..., Awaitable[str]]


@pytest.fixture
async def deliver(database: Database, blobs: BlobStore, postgres_url: str) -> Deliver:
    """`await deliver(schema, *texts)`: a batch of ten answers, delivered; its id."""

    async def attempt(
        schema: TaskSchema | None, *texts: str, url: str = postgres_url, fails: int = 0
    ) -> str:
        kept = None if schema is None else await keep_schema(database, schema)
        wanted = Finished(lines=10, fails=fails, texts=texts, task_schema=kept)
        batch_id = await finish(database, blobs, wanted)
        batch = await EndedBatches(database, blobs).find(batch_id)
        about = batch.about(msgspec.structs.replace(ITEM, batch_id=batch_id))
        handler = PostgresHandler(Postgres(url=Secret(url), rows_at_once=4))
        assert await handler.handle(batch_id, await batch.results(), about)
        return batch_id

    return attempt


async def types(theirs: Any) -> dict[str, str]:
    rows = await theirs.fetch(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_name = 'batch_results'"
    )
    assert all(r["is_nullable"] == "YES" for r in rows if r["column_name"].startswith("answer"))
    return {row["column_name"]: row["data_type"] for row in rows}


async def test_an_answer_has_a_column_for_each_property(deliver: Deliver, theirs: Any) -> None:
    await deliver(TAGGED, json.dumps(ANSWER))
    made = await types(theirs)
    assert {name: made[name] for name in list(made)[8:]} == {
        "answer": "jsonb",
        "valid": "boolean",
        "answer_label": "text",
        "answer_score": "double precision",
        "answer_count": "bigint",
        "answer_sure": "boolean",
        "answer_tags": "jsonb",
        'answer_Odd "name"': "text",
    }
    rows = await theirs.fetch("SELECT * FROM batch_results")
    assert len(rows) == 10
    for row in rows:
        assert row["answer"] == ANSWER | {"label": "gr\ufffdat"}
        assert [*row.values()][9:] == [
            True, "gr\ufffdat", 0.5, 3, True, ["a", {"b": None}], "x"
        ]  # fmt: skip


async def test_answers_that_do_not_follow_it_are_rows_too(deliver: Deliver, theirs: Any) -> None:
    wrong = {"label": 7, "score": "high", "count": 2**70, "sure": "yes", "tags": "none", "more": 1}
    await deliver(TAGGED, json.dumps(ANSWER), json.dumps(wrong), "no JSON", fails=5)
    rows = await theirs.fetch("SELECT * FROM batch_results ORDER BY length(custom_id), custom_id")
    assert [row["valid"] for row in rows] == [
        False, False, True, False, None, True, False, False, True, None
    ]  # fmt: skip
    assert rows[0]["answer"] == wrong
    assert [*rows[0].values()][9:] == [False, None, None, None, None, "none", None]
    assert rows[1]["answer"] is None


async def test_a_table_that_is_there_gets_the_columns(deliver: Deliver, theirs: Any) -> None:
    """Of every schema that comes; rows of others have nulls there."""
    plain = await deliver(None, "words")
    tagged = await deliver(TAGGED, json.dumps(ANSWER))
    sentiment = await deliver(example("classification"), '{"label": "mixed", "confidence": "low"}')
    rows = await theirs.fetch(
        "SELECT DISTINCT batch_id, answer_label, answer_count, answer_confidence FROM batch_results"
    )
    assert {tuple(row) for row in rows} == {
        (plain, None, None, None),
        (tagged, "gr\ufffdat", 3, None),
        (sentiment, "mixed", None, "low"),
    }


async def test_a_property_whose_type_has_changed_is_a_clear_error(
    deliver: Deliver, theirs: Any
) -> None:
    await deliver(TAGGED, json.dumps(ANSWER))
    changed = schema_of({"count": {"type": "string"}})
    with pytest.raises(
        DeliveryError,
        match=r"column answer_count of type bigint, and .* wants text there: make it text, or json",
    ):
        await deliver(changed, '{"count": "many"}')
    assert await theirs.fetchval("SELECT count(*) FROM batch_results") == 10


@pytest.mark.parametrize(("kind", "numbers"), [("text", "3"), ("jsonb", 3)])
async def test_a_column_of_text_or_jsonb_takes_both(
    deliver: Deliver, theirs: Any, kind: str, numbers: Any
) -> None:
    """What the message says to do."""
    await deliver(TAGGED, json.dumps(ANSWER))
    await theirs.execute(
        f"ALTER TABLE batch_results ALTER answer_count TYPE {kind} USING answer_count::text::{kind}"
    )
    await deliver(schema_of({"count": {"type": "string"}}), '{"count": "many"}')
    await deliver(schema_of({"count": {"type": "integer"}}), '{"count": 3}')
    found = await theirs.fetch("SELECT answer_count FROM batch_results")
    assert sorted({json.dumps(row["answer_count"]) for row in found}) == sorted(
        {json.dumps("many"), json.dumps(numbers)}
    )


async def test_a_role_that_may_not_add_columns_hears_which_to_add(
    deliver: Deliver, theirs: Any, postgres_url: str
) -> None:
    await theirs.execute(f"CREATE TABLE batch_results ({BASE})")
    await theirs.execute("DROP ROLE IF EXISTS visitor")
    await theirs.execute("CREATE ROLE visitor LOGIN")
    await theirs.execute("GRANT SELECT, INSERT, UPDATE ON batch_results TO visitor")
    url = urlsplit(postgres_url)
    visitor = url._replace(netloc=f"visitor@{url.netloc.rpartition('@')[2]}").geturl()
    try:
        await deliver(None, "words", url=visitor)
        with pytest.raises(DeliveryError) as refused:
            await deliver(TAGGED, json.dumps(ANSWER), url=visitor)
        said = str(refused.value)
        assert "add answer jsonb, valid boolean, answer_label text, " in said
        assert '"answer_Odd ""name""" text' in said
        for column in said.partition(": add ")[2].partition(", or name")[0].split(", "):
            await theirs.execute(f"ALTER TABLE batch_results ADD {column}")
        await deliver(TAGGED, json.dumps(ANSWER), url=visitor)
    finally:
        await theirs.execute("DROP OWNED BY visitor")
        await theirs.execute("DROP ROLE visitor")


async def test_columns_wait_for_nobody_long(deliver: Deliver, theirs: Any) -> None:
    """Race: somebody's long transaction; a waiting ALTER would hold up all of their readers."""
    await deliver(None, "words")
    async with theirs.transaction():
        await theirs.fetch("SELECT count(*) FROM batch_results")
        with pytest.raises(DeliveryError, match="lock timeout"):
            await deliver(TAGGED, json.dumps(ANSWER))
    await deliver(TAGGED, json.dumps(ANSWER))


async def test_custom_ids_that_postgres_stores_alike_are_rows_of_their_own(
    deliver: Deliver, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["a\0", "a\ufffd", "a\0\0", "x" * 5000, "x" * 5001]
    plain = Finished.result

    def named(self: Finished, batch_id: str, line: int) -> dict[str, Any]:
        return plain(self, batch_id, line) | {"custom_id": (ids * 2)[line - 1] + "b" * (line > 5)}

    monkeypatch.setattr(Finished, "result", named)
    await deliver(None, "words")
    found = {row["custom_id"] for row in await theirs.fetch("SELECT custom_id FROM batch_results")}
    assert len(found) == 10
    assert {"a\ufffd", "a\ufffdb"} <= found
