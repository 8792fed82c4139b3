"""The `openai` client, unmodified, through every service."""

import asyncio
import json
from pathlib import Path

import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI

from support.batches import content, submit, wait
from support.requests import CHAT, chat_line, custom_ids, jsonl
from support.standalone import Standalone

# The same on one machine, and with everything apart.
pytestmark = pytest.mark.parametrize(
    "system", ["up", pytest.param("deployment", marks=pytest.mark.slow)], indirect=True
)
BATCH_FIELDS = {
    "id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status",
    "output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at",
    "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
    "request_counts", "usage", "metadata",
}  # fmt: skip
FILE_FIELDS = {
    "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status",
    "status_details",
}  # fmt: skip


def test_a_batch_from_file_to_results(client: OpenAI) -> None:
    lines = [chat_line(f"doc-{n}", f"question {n}") for n in range(200)]
    batch = submit(client, jsonl(lines), metadata={"project": "demo"})
    assert batch.status == "validating"
    batch = wait(client, batch.id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (200, 200, 0)
    assert batch.error_file_id is None
    assert batch.usage is not None
    assert batch.usage.output_tokens > 0
    output = content(client, batch.output_file_id)
    assert sorted(custom_ids(output)) == sorted(line["custom_id"] for line in lines)
    first = json.loads(output.splitlines()[0])
    assert set(first) == {"id", "custom_id", "response", "error"}
    assert first["response"]["body"]["model"] == "sim"
    assert client.files.retrieve(batch.output_file_id or "").purpose == "batch_output"


def test_every_field_is_there(client: OpenAI) -> None:
    batch = wait(client, submit(client, jsonl([chat_line("a", "x")])).id)
    raw = client.batches.with_raw_response.retrieve(batch.id)
    assert set(json.loads(raw.content)) >= BATCH_FIELDS
    assert raw.headers["x-request-id"]
    file = client.files.with_raw_response.retrieve(batch.output_file_id or "")
    assert set(json.loads(file.content)) >= FILE_FIELDS


def test_bad_lines_are_all_named(client: OpenAI) -> None:
    lines = [chat_line("a", "x"), chat_line("a", "y"), {**chat_line("c", "z"), "url": "/v1/other"}]
    data = jsonl(lines) + b"not json\n"
    batch = wait(client, submit(client, data).id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(e.line, e.code) for e in batch.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_url"),
        (4, "invalid_json_line"),
    ]


def test_an_upload_in_parts(client: OpenAI, tmp_path: Path) -> None:
    data = jsonl(chat_line(str(n), "long " * 200) for n in range(1500))
    path = tmp_path / "large.jsonl"
    path.write_bytes(data)
    upload = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=400_000
    )
    assert upload.file is not None
    assert upload.file.bytes == len(data)
    assert content(client, upload.file.id) == data
    batch = client.batches.create(
        input_file_id=upload.file.id, endpoint=CHAT, completion_window="24h"
    )
    assert wait(client, batch.id).status == "completed"


def test_unknown_ids(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="No batch found with id 'batch_x'"):
        client.batches.retrieve("batch_x")
    with pytest.raises(NotFoundError, match="No such File object: file-x"):
        client.files.retrieve("file-x")


async def test_the_async_client(system: Standalone) -> None:
    async with AsyncOpenAI(base_url=system.url, api_key=system.api_key) as client:
        data = jsonl(chat_line(str(n), "hello") for n in range(20))
        file = await client.files.create(file=("in.jsonl", data), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h"
        )
        while batch.status not in {"completed", "failed"}:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        output = await client.files.content(batch.output_file_id or "")
        assert sorted(custom_ids(output.content), key=int) == [str(n) for n in range(20)]
        await client.files.delete(file.id)
        with pytest.raises(NotFoundError):
            await client.files.retrieve(file.id)


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["sim"]
    assert client.models.retrieve("sim").object == "model"
