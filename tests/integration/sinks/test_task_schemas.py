"""Results of batches with a task schema: each comes with its answer, and whether it is valid."""

import asyncio
import json
from collections import Counter

from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_sinks.ended import EndedBatches
from batch_sinks.results import Results
from support.finished import Finished, finish
from support.task_schemas import example, keep_schema

from .conftest import on_sqlite

pytestmark = on_sqlite

GOOD = {"label": "neutral", "confidence": "high"}
BAD = {"label": "great", "confidence": "high"}
TEXTS = (json.dumps(GOOD), json.dumps(BAD), "I think it is great.")
SCHEMA = example("classification")


async def made(database: Database, blobs: BlobStore, *, lines: int, fails: int = 0) -> Results:
    schema = await keep_schema(database, SCHEMA)
    wanted = Finished(lines=lines, chunk_lines=40, fails=fails, texts=TEXTS, task_schema=schema)
    batch_id = await finish(database, blobs, wanted)
    return await (await EndedBatches(database, blobs).find(batch_id)).results()


async def test_each_result_is_flagged(database: Database, blobs: BlobStore) -> None:
    results = await made(database, blobs, lines=120, fails=12)
    assert results.schema == SCHEMA
    flags: Counter[object] = Counter()
    async for result in results:
        flag = result["schema"]
        flags[flag["valid"]] += 1
        assert (flag["name"], flag["version"]) == ("classification", "1")
        places = [error["at"] for error in flag["errors"]]
        if result["response"] is None:
            assert (flag["valid"], places, result["answer"]) == (None, [], None)
            continue
        text = result["response"]["body"]["choices"][0]["message"]["content"]
        expected = {
            TEXTS[0]: (True, [], GOOD),
            TEXTS[1]: (False, ["/label"], BAD),
            TEXTS[2]: (False, [""], None),
        }
        assert (flag["valid"], places, result["answer"]) == expected[text]
    assert flags == {None: 10, True: 30, False: 80}


async def test_every_way_of_reading_flags_the_same(database: Database, blobs: BlobStore) -> None:
    results = await made(database, blobs, lines=100)
    first = [result["schema"] async for result in results]
    assert await asyncio.to_thread(lambda: [result["schema"] for result in results]) == first
    later = results.skip(30)
    assert [result["schema"] async for result in later] == first[30:]
    assert later.schema == SCHEMA


async def test_results_without_a_schema_have_no_flag(database: Database, blobs: BlobStore) -> None:
    batch_id = await finish(database, blobs, Finished(lines=3))
    results = await (await EndedBatches(database, blobs).find(batch_id)).results()
    assert results.schema is None
    async for result in results:
        assert set(result) == {"id", "custom_id", "response", "error", "request"}
