"""The handler: files, and at last a manifest, under keys that derive from the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlencode

import aioboto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from batch_common import config
from batch_common.errors import ConfigError
from batch_sinks.handler import BatchMetadata, ResultHandler
from batch_sinks.results import Lines, Results
from batch_sinks.s3.file_stream import FileStream
from batch_sinks.s3.prefix import check_template, fill_in
from batch_sinks.s3.upload import Upload, part_size
from batch_sinks.sink import DeliveryError

# A Parquet file is at most so many times as large as the JSONL files.
_WITH_REQUESTS: Final = 4
_CLIENT: Final = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard"})


class File(msgspec.Struct, frozen=True):
    """`bytes` and `sha256` are of the content before it is compressed."""

    key: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies there of a batch. It is written last: where it is, everything is."""

    batch_id: str
    compressed: bool
    output: File | None
    errors: File | None
    # Of the Parquet file, if one is wanted; its bytes and sha256 are as it lies there.
    parquet: File | None
    batch: BatchMetadata


class S3Handler(ResultHandler):
    """A repeat puts the same bytes under the same keys."""

    def __init__(self, settings: config.S3) -> None:
        if not settings.bucket:
            raise ConfigError(
                "the handler s3 is enabled without a bucket: set result_handlers.s3.bucket"
            )
        if settings.parquet and find_spec("pyarrow") is None:
            raise ConfigError(
                "result_handlers.s3.parquet needs the package pyarrow: "
                "pip install 'vllm-batch-server[parquet]'"
            )
        self._settings = settings
        self._prefix = check_template(settings.prefix)

    async def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        prefix = fill_in(self._prefix, batch_id, metadata)
        with _said_plainly(self._settings.bucket):
            async with self._client() as client:
                manifest = Manifest(
                    batch_id=batch_id,
                    compressed=self._settings.compress,
                    output=await self._send(client, f"{prefix}/output.jsonl", results.output),
                    errors=await self._send(client, f"{prefix}/errors.jsonl", results.errors),
                    parquet=await self._send_parquet(
                        client, f"{prefix}/results.parquet", batch_id, results, metadata
                    ),
                    batch=metadata,
                )
                about = {"ContentType": "application/json", **self._protection()}
                await client.put_object(
                    Bucket=self._settings.bucket,
                    Key=f"{prefix}/manifest.json",
                    Body=msgspec.json.encode(manifest),
                    **about,
                )
        return True

    async def _send(self, client: Any, key: str, lines: Lines) -> File | None:
        """None for a file that the batch does not have."""
        if not lines.bytes:
            return None
        about: dict[str, Any] = {"ContentType": "application/jsonl", **self._protection()}
        if self._settings.compress:
            key = f"{key}.gz"
            about["ContentType"] = "application/gzip"
        stream = FileStream(lines, compress=self._settings.compress)
        upload = Upload(client, self._settings.bucket, key, about)
        await upload.send(stream.pieces(), part_size(self._settings.part_bytes, lines.bytes))
        return File(key, stream.bytes, stream.sha256)

    async def _send_parquet(
        self, client: Any, key: str, batch_id: str, results: Results, metadata: BatchMetadata
    ) -> File | None:
        """None where none is wanted."""
        if not self._settings.parquet:
            return None
        from batch_sinks.s3.parquet import ParquetStream  # noqa: PLC0415 - an extra, of some 50 MiB

        about = {"ContentType": "application/vnd.apache.parquet", **self._protection()}
        stream = ParquetStream(batch_id, results, metadata)
        # It is compressed, but has the requests besides.
        most = _WITH_REQUESTS * (results.output.bytes + results.errors.bytes)
        upload = Upload(client, self._settings.bucket, key, about)
        await upload.send(stream.pieces(), part_size(self._settings.part_bytes, most))
        return File(key, stream.bytes, stream.sha256)

    def _protection(self) -> dict[str, str]:
        settings, about = self._settings, {}
        if settings.kms_key_id:
            about = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}
        if settings.tags:
            about["Tagging"] = urlencode(settings.tags)
        return about

    def _client(self) -> Any:
        """Credentials by boto's chain: environment, files, the machine's role."""
        return aioboto3.Session().client(
            "s3",
            region_name=self._settings.region or None,
            endpoint_url=self._settings.endpoint_url or None,
            config=_CLIENT,
        )


@contextmanager
def _said_plainly(bucket: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise DeliveryError(f"S3, bucket {bucket}: {error}") from None
