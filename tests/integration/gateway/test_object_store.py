"""Files in S3 in place of a folder; moto is the S3."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import select

from batch_common.config import Blobs
from batch_common.secret import Secret
from batch_common.tables import files
from support.gateway import LINE, make_file
from support.wait import until


def s3_client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden",
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the bucket `bucket`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3_client(f"http://{host}:{port}").create_bucket(Bucket="bucket")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def settings(s3: str) -> Blobs:
    options = {
        "endpoint": s3,
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "hidden",
        "allow_http": "true",
    }
    return Blobs(
        url=f"s3://bucket/{uuid.uuid4().hex}",
        options={name: Secret(value) for name, value in options.items()},
    )


async def test_files(serve: Any, settings: Blobs) -> None:
    served = await serve(blobs=settings)
    data = LINE + os.urandom(12 << 20)
    file = await make_file(served.http, data)
    url = f"/v1/files/{file['id']}/content"
    assert (await served.http.get(url)).content == data
    part = await served.http.get(url, headers={"range": "bytes=7000000-7000009"})
    assert part.content == data[7_000_000:7_000_010]
    assert (await served.http.get("/readyz")).json()["checks"]["blobs"] == "ok"


async def test_a_client_that_goes_away_in_the_middle(serve: Any, settings: Blobs, s3: str) -> None:
    served = await serve(blobs=settings)
    _, writer = await asyncio.open_connection("127.0.0.1", served.config.gateway.port)
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 90000000\r\n"
        b"content-type: multipart/form-data; boundary=XbX\r\n\r\n--XbX\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        + LINE
        + b" " * (12 << 20)
    )
    await writer.drain()

    async def rows() -> int:
        async with served.database.read() as conn:
            return len((await conn.execute(select(files.c.id))).all())

    async def begun() -> bool:
        return await rows() == 1

    async def gone() -> bool:
        return await rows() == 0

    await until(begun, what="an upload in progress")
    writer.close()
    await writer.wait_closed()
    await until(gone, what="the clean-up")
    found = await asyncio.to_thread(
        s3_client(s3).list_objects_v2, Bucket="bucket", Prefix=settings.url.rpartition("/")[2]
    )
    assert found["KeyCount"] == 0
