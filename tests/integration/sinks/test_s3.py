"""Result files in a real S3 endpoint: whole, checked, overwritten, and in bounded memory."""

import asyncio
import gzip
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
import pyarrow.parquet as pq
import pytest

from batch_common.blobs import BlobStore
from batch_common.config import S3
from batch_common.config_file import dump_config
from batch_common.db import Database
from batch_sinks.ended import EndedBatches
from batch_sinks.results import Results
from batch_sinks.s3.handler import S3Handler
from batch_sinks.sink import DeliveryError, Item
from support.finished import Finished, finish
from support.ports import free_port
from support.s3_server import S3Server
from support.wait import until

from .conftest import EndBatch, InState, Serve, Settings, on_sqlite

pytestmark = on_sqlite

MIB = 1 << 20
PROCESS = """
import sys
from pathlib import Path
from batch_common.config_file import load_config
from batch_common.service import run_service
from batch_sinks.app import run
sys.exit(run_service("sinks", load_config(Path(sys.argv[1])), run))
"""


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Server]:
    """With a bucket `results`, and credentials where boto looks for them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    process = S3Server(tmp_path / "s3.log")
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
def bucket(server: S3Server) -> Any:
    found = boto3.resource("s3", endpoint_url=server.url).Bucket("results")
    found.create()
    return found


def s3(server: S3Server, **more: Any) -> S3:
    return S3(bucket="results", endpoint_url=server.url, **more)


def objects(bucket: Any) -> dict[str, Any]:
    return {item.key: item.Object() for item in bucket.objects.all()}


async def read(stream: Any) -> bytes:
    return b"".join([piece async for piece in stream])


Deliver = Callable[[S3], Awaitable[tuple[str, Results]]]


@pytest.fixture
async def deliver(database: Database, blobs: BlobStore) -> Deliver:
    """`await deliver(settings)`: one attempt at the same batch of 20 MiB, without the service."""
    wanted = Finished(lines=2000, fails=100, answer=10_000)
    batch_id = await finish(database, blobs, wanted)
    item = Item(
        sink="s3",
        batch_id=batch_id,
        tenant="default",
        event_id="evt_1",
        event_type="batch.completed",
        ended_at=1700000000,
        attempt=1,
    )

    async def attempt(settings: S3) -> tuple[str, Results]:
        batch = await EndedBatches(database, blobs).find(batch_id)
        results = await batch.results()
        assert await S3Handler(settings).handle(batch_id, results, batch.about(item))
        return batch_id, results

    return attempt


async def test_files_and_manifest_arrive_as_the_api_has_them(
    serve: Serve, end_batch: EndBatch, in_state: InState, server: S3Server, bucket: Any
) -> None:
    handlers = {"enabled": ("s3",), "s3": s3(server)}
    async with serve(handlers=handlers):
        batch_id = await end_batch(lines=250, fails=10, sinks=("s3",))
        whole = await end_batch(lines=3, sinks=("s3",))
        await until(in_state("delivered", batch_id, whole, sink="s3"))
    found = objects(bucket)
    assert set(found) == {
        f"batches/{batch_id}/output.jsonl",
        f"batches/{batch_id}/errors.jsonl",
        f"batches/{batch_id}/manifest.json",
        f"batches/{whole}/output.jsonl",
        f"batches/{whole}/manifest.json",
    }
    manifest = json.load(found[f"batches/{batch_id}/manifest.json"].get()["Body"])
    assert manifest["batch"]["request_counts"] == {"total": 250, "completed": 225, "failed": 25}
    for name, lines in (("output", 225), ("errors", 25)):
        file = manifest[name]
        data = found[file["key"]].get()["Body"].read()
        assert data.count(b"\n") == lines
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert json.load(found[f"batches/{whole}/manifest.json"].get()["Body"])["errors"] is None


async def test_a_parquet_file_has_a_row_for_each_request(
    deliver: Deliver, server: S3Server, bucket: Any
) -> None:
    batch_id, results = await deliver(s3(server, parquet=True))
    found = objects(bucket)
    manifest = json.load(found[f"batches/{batch_id}/manifest.json"].get()["Body"])
    told = manifest["parquet"]
    assert told["key"] == f"batches/{batch_id}/results.parquet"
    data = found[told["key"]].get()["Body"].read()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (told["bytes"], told["sha256"])
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups >= 4
    rows = file.read().to_pylist()
    expected = [result async for result in results]
    assert [row["custom_id"] for row in rows] == [result["custom_id"] for result in expected]
    assert {row["batch_id"] for row in rows} == {batch_id}
    for row, result in zip(rows, expected, strict=True):
        assert json.loads(row["request"]) == result["request"]["body"]
        if result["error"]:
            assert (row["error_code"], row["error_message"]) == ("request_timeout", "too late")
            assert (row["status_code"], row["answer"], row["response"]) == (None, None, None)
        else:
            assert json.loads(row["response"]) == result["response"]["body"]
            assert (row["status_code"], row["error_code"]) == (200, None)
            assert row["answer"].startswith("answer ")
    await deliver(s3(server, parquet=True))
    assert objects(bucket)[told["key"]].get()["Body"].read() == data


@pytest.mark.parametrize("part_bytes", [5 * MIB, 64 * MIB])
async def test_large_files_go_in_parts(
    deliver: Deliver, server: S3Server, bucket: Any, part_bytes: int
) -> None:
    batch_id, results = await deliver(s3(server, part_bytes=part_bytes))
    output = objects(bucket)[f"batches/{batch_id}/output.jsonl"]
    assert output.get()["Body"].read() == await read(results.output)
    # An entity tag ends in the number of parts, where there are parts.
    assert output.e_tag.strip('"').partition("-")[2] == ("4" if part_bytes == 5 * MIB else "")


async def test_compressed_tagged_and_under_a_template(
    deliver: Deliver, server: S3Server, bucket: Any
) -> None:
    settings = s3(
        server,
        prefix="/{tenant}/{model}/{date}/{status}/{batch_id}/",
        compress=True,
        tags={"team": "lab 1", "cost": "1"},
        kms_key_id="alias/results",
    )
    batch_id, results = await deliver(settings)
    folder = f"default/sim/2023-11-14/completed/{batch_id}"
    found = objects(bucket)
    assert set(found) == {
        f"{folder}/{name}" for name in ("output.jsonl.gz", "errors.jsonl.gz", "manifest.json")
    }
    output = found[f"{folder}/output.jsonl.gz"]
    packed = output.get()["Body"].read()
    plain = await read(results.output)
    assert gzip.decompress(packed) == plain
    manifest = json.load(found[f"{folder}/manifest.json"].get()["Body"])
    assert manifest["output"]["sha256"] == hashlib.sha256(plain).hexdigest()
    assert output.server_side_encryption == "aws:kms"
    assert output.ssekms_key_id == "alias/results"
    tags = bucket.meta.client.get_object_tagging(Bucket="results", Key=output.key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "lab 1", "cost": "1"}
    await deliver(settings)
    assert objects(bucket)[output.key].get()["Body"].read() == packed


async def test_parts_that_a_killed_process_left_behind_are_cleared_away(
    deliver: Deliver, server: S3Server, bucket: Any
) -> None:
    settings = s3(server, part_bytes=5 * MIB)
    batch_id, results = await deliver(settings)
    key = f"batches/{batch_id}/output.jsonl"
    client = bucket.meta.client
    mine = client.create_multipart_upload(Bucket="results", Key=key)
    client.upload_part(
        Bucket="results", Key=key, UploadId=mine["UploadId"], PartNumber=1, Body=b"half"
    )
    other = client.create_multipart_upload(Bucket="results", Key=f"{key}.other")
    await deliver(settings)
    left = client.list_multipart_uploads(Bucket="results")["Uploads"]
    assert [upload["UploadId"] for upload in left] == [other["UploadId"]]
    assert objects(bucket)[key].get()["Body"].read() == await read(results.output)


async def test_one_that_fails_in_the_middle_leaves_no_parts_and_no_manifest(
    deliver: Deliver,
    server: S3Server,
    bucket: Any,
    database: Database,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The blob store stops answering after some windows."""
    read_range, reads = BlobStore.get_range, []

    async def get_range(self: BlobStore, key: str, start: int, end: int) -> bytes:
        reads.append(key)
        if len(reads) > 12:
            raise OSError("the disk has gone")
        return await read_range(self, key, start, end)

    monkeypatch.setattr(BlobStore, "get_range", get_range)
    with pytest.raises(OSError, match="the disk has gone"):
        await deliver(s3(server, part_bytes=5 * MIB))
    assert objects(bucket) == {}
    client = bucket.meta.client
    assert client.list_multipart_uploads(Bucket="results").get("Uploads") is None


async def test_a_bucket_that_is_not_there_and_a_store_that_is_down_are_clear_errors(
    deliver: Deliver, server: S3Server
) -> None:
    with pytest.raises(DeliveryError, match=r"S3, bucket results: .*NoSuchBucket"):
        await deliver(s3(server))
    nowhere = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DeliveryError, match=r"S3, bucket b: .*Could not connect"):
        await deliver(S3(bucket="b", endpoint_url=nowhere))


# With Parquet come pyarrow's libraries.
@pytest.mark.slow
@pytest.mark.parametrize(("parquet", "most"), [(False, 150_000_000), (True, 300_000_000)])
async def test_two_hundred_megabytes_in_bounded_memory(
    settings: Settings,
    end_batch: EndBatch,
    in_state: InState,
    server: S3Server,
    bucket: Any,
    tmp_path: Path,
    database: Database,
    blobs: BlobStore,
    *,
    parquet: bool,
    most: int,
) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        dump_config(settings(handlers={"enabled": ("s3",), "s3": s3(server, parquet=parquet)}))
    )
    batch_id = await end_batch(lines=20_000, chunk_lines=1000, answer=10_000, sinks=("s3",))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, path], stderr=subprocess.DEVNULL)
    try:
        await until(in_state("delivered", batch_id, sink="s3"), within_s=300)
        peak = peak_mib(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate, None, 30)
    results = await (await EndedBatches(database, blobs).find(batch_id)).results()
    assert results.output.bytes > 200_000_000
    sha256 = hashlib.sha256()
    async for piece in results.output:
        sha256.update(piece)
    stored = hashlib.sha256()
    body = objects(bucket)[f"batches/{batch_id}/output.jsonl"].get()["Body"]
    for piece in body.iter_chunks(MIB):
        stored.update(piece)
    assert stored.hexdigest() == sha256.hexdigest()
    print(f"peak of the sinks service: {peak:.0f} MiB")
    assert peak * MIB < most


def peak_mib(pid: int) -> float:
    """VmHWM: the most resident memory it has ever had."""
    assert psutil.pid_exists(pid)
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
