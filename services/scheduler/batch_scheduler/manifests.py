"""Manifests: read, and believed only when they cover their chunk."""

import msgspec

from batch_common.blobs import BlobStore
from batch_common.errors import BlobNotFoundError
from batch_common.formats.manifest import Manifest, ObjectRef, decode_manifest
from batch_common.keys import chunk_prefix, is_manifest
from batch_common.logs import get_log
from batch_scheduler.context import AnyRow

log = get_log(__name__)


class Unfit(Exception):  # noqa: N818 - says why a manifest is not taken; nothing went wrong
    """The manifest does not stand for every line of the chunk."""


async def read_manifest(
    blobs: BlobStore, key: str, chunk: AnyRow, *, unfinished: bool = False
) -> Manifest:
    """`unfinished`: lines that never ran are fine. Raises Unfit, BlobUnavailableError."""
    try:
        manifest = decode_manifest(await blobs.get(key))
    except BlobNotFoundError:
        raise Unfit("there is no such object") from None
    except msgspec.DecodeError as error:
        raise Unfit(f"it cannot be read: {error}") from error
    check_cover(manifest, chunk)
    if manifest.unfinished and not unfinished:
        raise Unfit(f"{manifest.unfinished} lines never ran")
    for ref in (manifest.output, manifest.errors):
        if ref is not None:
            await _check_object(blobs, ref)
    return manifest


def check_cover(manifest: Manifest, chunk: AnyRow) -> None:
    """Every line once, in objects of this chunk. Raises Unfit."""
    lines = chunk.end_line - chunk.first_line
    if manifest.chunk != chunk.id:
        raise Unfit(f"it is of chunk {manifest.chunk}")
    if min(manifest.completed, manifest.failed, manifest.unfinished) < 0:
        raise Unfit("it counts below zero")
    if manifest.lines != lines:
        raise Unfit(f"it has {manifest.lines} lines of {lines}")
    if _lines(manifest.output) != manifest.completed:
        raise Unfit(f"its output has {_lines(manifest.output)} lines of {manifest.completed}")
    if _lines(manifest.errors) != manifest.failed + manifest.unfinished:
        raise Unfit(f"its errors have {_lines(manifest.errors)} lines")
    prefix = chunk_prefix(chunk.batch_id, chunk.id)
    for ref in (manifest.output, manifest.errors):
        if ref is not None and not ref.key.startswith(prefix):
            raise Unfit("it names an object of another chunk")


async def find_manifest(
    blobs: BlobStore, chunk: AnyRow, *, unfinished: bool = False
) -> tuple[str, Manifest] | None:
    """Of any attempt at the chunk, the first that is fit; with its key."""
    listed = await blobs.list(chunk_prefix(chunk.batch_id, chunk.id))
    for key in sorted(info.key for info in listed if is_manifest(info.key)):
        try:
            return key, await read_manifest(blobs, key, chunk, unfinished=unfinished)
        except Unfit as reason:
            log.warning("manifest_unfit", chunk=chunk.id, key=key, reason=str(reason))
    return None


def _lines(ref: ObjectRef | None) -> int:
    return ref.lines if ref is not None else 0


async def _check_object(blobs: BlobStore, ref: ObjectRef) -> None:
    try:
        size = await blobs.size(ref.key)
    except BlobNotFoundError:
        raise Unfit(f"{ref.key} does not exist") from None
    if size != ref.bytes:
        raise Unfit(f"{ref.key} has {size} bytes, not {ref.bytes}")
