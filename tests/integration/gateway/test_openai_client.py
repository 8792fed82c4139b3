"""The `openai` client, unmodified, on every route."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import (
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OpenAI,
)

from batch_common import clock
from batch_common.tables import models
from support.gateway import CHAT, LINE, set_batch


@pytest.fixture
async def client(served: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as made:
        yield made


async def test_files(client: AsyncOpenAI) -> None:
    file = await client.files.create(
        file=("in.jsonl", LINE),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert file.expires_at == file.created_at + 7200
    assert await client.files.retrieve(file.id) == file
    assert await client.files.wait_for_processing(file.id) == file
    assert (await client.files.content(file.id)).content == LINE
    assert [found.id async for found in client.files.list(limit=1)] == [file.id]
    assert (await client.files.delete(file.id)).deleted is True
    with pytest.raises(NotFoundError, match=f"No such File object: {file.id}") as caught:
        await client.files.retrieve(file.id)
    assert caught.value.param == "id"
    assert (caught.value.request_id or "").startswith("req_")


async def test_raw_bytes_without_a_name(client: AsyncOpenAI) -> None:
    assert (await client.files.create(file=LINE, purpose="batch")).filename == "upload"


async def test_batches(client: AsyncOpenAI) -> None:
    """An unknown input file is accepted; validation, which is not here, fails it later."""
    batch = await client.batches.create(
        input_file_id="file-unknown",
        endpoint=CHAT,
        completion_window="24h",
        metadata={"k": "v"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert batch.status == "validating"
    assert batch.metadata == {"k": "v"}
    assert await client.batches.retrieve(batch.id) == batch
    cancelled = await client.batches.cancel(batch.id)
    assert cancelled.status == "cancelling"
    assert (await client.batches.cancel(batch.id)).cancelling_at == cancelled.cancelling_at


@pytest.mark.parametrize("status", ["completed", "failed", "expired"])
async def test_what_is_over_cannot_be_cancelled(
    served: Any, client: AsyncOpenAI, status: str
) -> None:
    """The client retries a 409 unless told not to: it asks once."""
    batch = await client.batches.create(
        input_file_id="file-x", endpoint=CHAT, completion_window="24h"
    )
    await set_batch(served.database, batch.id, status=status)
    message = f"Cannot cancel a batch with status '{status}'"
    with pytest.raises(ConflictError, match=message) as caught:
        await client.with_options(max_retries=2).batches.cancel(batch.id)
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_walking_through_250_batches(client: AsyncOpenAI) -> None:
    async def create(n: int) -> str:
        made = await client.batches.create(
            input_file_id=f"file-{n}", endpoint=CHAT, completion_window="24h"
        )
        return made.id

    newest_first = sorted(await asyncio.gather(*map(create, range(250))), reverse=True)
    found = [batch async for batch in client.batches.list(limit=100)]
    assert [batch.id for batch in found] == newest_first
    assert [batch.id async for batch in client.batches.list()] == newest_first


async def test_unknown_ids(client: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError, match="No batch found with id 'batch_x'"):
        await client.batches.retrieve("batch_x")
    with pytest.raises(NotFoundError, match="No batch found with id 'batch_x'"):
        await client.batches.cancel("batch_x")
    with pytest.raises(NotFoundError, match="Resource not found"):
        await client.batches.list(after="batch_x")
    with pytest.raises(NotFoundError, match="The model 'no/such' does not exist") as caught:
        await client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"
    with pytest.raises(NotFoundError, match="No such Upload object: upload_x"):
        await client.uploads.cancel("upload_x")


async def test_bad_requests(client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="Supported values are: '/v1/responses'") as caught:
        await client.batches.create(
            input_file_id="file-x", endpoint="/v1/moderations", completion_window="24h"
        )
    assert (caught.value.param, caught.value.code) == ("endpoint", "invalid_value")
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(BadRequestError, match="limit must be between 1 and 100"):
        await client.batches.list(limit=101)


async def test_models(served: Any, client: AsyncOpenAI) -> None:
    """Those that runners have announced; the scheduler writes the rows."""
    at = clock.timestamp()
    async with served.database.write("in a test") as conn:
        for name in ("org/model", "plain"):
            await conn.execute(models.insert().values(name=name, first_seen=at, last_seen=at))
    assert [model.id async for model in client.models.list()] == ["org/model", "plain"]
    model = await client.models.retrieve("org/model")
    assert (model.id, model.object, model.created) == ("org/model", "model", at)
    raw = (await served.http.get("/v1/models/org%2Fmodel")).json()
    assert raw == {
        "id": "org/model",
        "object": "model",
        "created": at,
        "owned_by": "vllm-batch-server",
        "shutdown_date": None,
    }
    assert (await served.http.get("/v1/models/org/model")).json() == raw


async def test_uploads_in_chunks(client: AsyncOpenAI, tmp_path: Path) -> None:
    data = LINE * 20_000
    path = tmp_path / "large.jsonl"
    await asyncio.to_thread(path.write_bytes, data)
    upload = await client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="batch",
        part_size=500_000,
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
    )
    assert upload.status == "completed"
    assert upload.file is not None
    assert (upload.file.bytes, upload.file.filename) == (len(data), "large.jsonl")
    assert (await client.files.content(upload.file.id)).content == data


async def test_the_synchronous_client(served: Any) -> None:
    def use() -> None:
        with OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
            file = client.files.create(file=("in.jsonl", LINE), purpose="batch")
            assert client.files.content(file.id).content == LINE
            assert [found.id for found in client.files.list()] == [file.id]
            batch = client.batches.create(
                input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata=None
            )
            assert client.batches.retrieve(batch.id) == batch
            assert [found.id for found in client.batches.list()] == [batch.id]
            assert client.batches.cancel(batch.id).status == "cancelling"
            upload = client.uploads.create(
                bytes=len(LINE), filename="a.jsonl", mime_type="text/plain", purpose="batch"
            )
            part = client.uploads.parts.create(upload.id, data=LINE)
            done = client.uploads.complete(upload.id, part_ids=[part.id])
            assert done.file is not None
            assert list(client.models.list()) == []
            assert client.files.delete(file.id).deleted
            with pytest.raises(NotFoundError):
                client.files.retrieve(file.id)

    await asyncio.to_thread(use)


async def test_keys(two_tenants: Any) -> None:
    url = f"{two_tenants.url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="sk-a") as a:
        batch = await a.batches.create(
            input_file_id="file-x", endpoint=CHAT, completion_window="24h"
        )
        assert [found.id async for found in a.batches.list()] == [batch.id]
    async with AsyncOpenAI(base_url=url, api_key="sk-b") as b:
        with pytest.raises(NotFoundError, match="No batch found with id"):
            await b.batches.retrieve(batch.id)
        with pytest.raises(NotFoundError, match="No batch found with id"):
            await b.batches.cancel(batch.id)
        with pytest.raises(NotFoundError):
            await b.batches.list(after=batch.id)
        assert [found async for found in b.batches.list()] == []
    async with AsyncOpenAI(base_url=url, api_key="sk-c") as c:
        with pytest.raises(AuthenticationError, match="Incorrect API key provided") as caught:
            await c.models.list()
        assert caught.value.code == "invalid_api_key"
        assert caught.value.request_id
