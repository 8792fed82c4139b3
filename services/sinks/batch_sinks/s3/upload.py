"""One object: in one piece where it is small, else in parts, one of them in memory at a time."""

import io
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

# Of S3 itself.
_MOST_PARTS: Final = 10_000


class Upload:
    """To `key`; what stands there is replaced when all is sent, and not before."""

    def __init__(self, client: Any, bucket: str, key: str, about: Mapping[str, Any]) -> None:
        """`about` goes into the requests that make the object: type, encryption, tags."""
        self._client = client
        self._place = {"Bucket": bucket, "Key": key}
        self._about = about

    async def send(self, pieces: AsyncIterator[bytes], part_bytes: int) -> int:
        """The bytes sent."""
        parts = _joined(pieces, part_bytes)
        first = await anext(parts, b"")
        if len(first) < part_bytes:
            await self._client.put_object(**self._place, **self._about, Body=first)
            return len(first)
        rest = _chained(first, parts)
        del first
        return await self._send_parts(rest)

    async def _send_parts(self, parts: AsyncIterator[bytes]) -> int:
        await self._abort_left_over()
        begun = await self._client.create_multipart_upload(**self._place, **self._about)
        upload = {**self._place, "UploadId": begun["UploadId"]}
        done: list[dict[str, Any]] = []
        size = 0
        try:
            async for part in parts:
                done.append(await self._send_part(upload, len(done) + 1, part))
                size += len(part)
            await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
        except BaseException:
            await self._client.abort_multipart_upload(**upload)
            raise
        return size

    async def _send_part(self, upload: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
        """As a file, since the client would copy bytes into its transport's buffer."""
        sent = await self._client.upload_part(**upload, PartNumber=number, Body=io.BytesIO(part))
        return {"PartNumber": number, "ETag": sent["ETag"]}

    async def _abort_left_over(self) -> None:
        """Of a process that was killed: unseen parts cost money for ever."""
        try:
            found = await self._client.list_multipart_uploads(
                Bucket=self._place["Bucket"], Prefix=self._place["Key"]
            )
            for upload in found.get("Uploads", ()):
                if upload["Key"] == self._place["Key"]:
                    await self._client.abort_multipart_upload(
                        **self._place, UploadId=upload["UploadId"]
                    )
        except ClientError:
            return  # may not be allowed, and is not needed


def part_size(wanted: int, total: int) -> int:
    """So that `total` bytes fit into the parts S3 takes."""
    return max(wanted, -(-total // _MOST_PARTS))


async def _joined(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """In parts of exactly `size`, but for the last one; nothing is held while one is sent."""
    held: list[bytes] = []
    room = size
    async for piece in pieces:
        rest = piece
        while len(rest) >= room:
            held.append(rest[:room])
            rest = rest[room:]
            part = b"".join(held)
            held, room = [], size
            yield part
            del part
        if rest:
            held.append(rest)
            room -= len(rest)
    if held:
        yield b"".join(held)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    del first
    async for part in rest:
        yield part
