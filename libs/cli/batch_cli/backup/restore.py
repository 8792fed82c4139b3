"""A backup into an empty place: objects first, then all rows in one transaction.

A row never names an object that is not there yet. Broken off, there are no rows; what was copied is
marked with the backup's id, and the same command goes on with it.

Services that start on it find batches as they were at the backup's moment, and JetStream empty, as
after the loss of its directory: the outbox sends its events again under their ids, and the
reconciler offers released chunks again. What runners had saved is not computed again.
"""

from collections.abc import AsyncIterator
from typing import Final

from batch_cli.backup.digest import Digested
from batch_cli.backup.formats import Entry, Manifest
from batch_cli.backup.objects import in_groups, in_parallel, patiently
from batch_cli.backup.place import Place
from batch_cli.backup.rows import check_empty, load_rows
from batch_cli.backup.verify import problems_of_lists
from batch_cli.standalone.report import Report
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.errors import BlobNotFoundError, StartError
from batch_common.keys import FOLDERS, INSTALLATIONS

# Outside the folders that the collector knows.
_MARK: Final = "restoring"


async def restore(
    database: Database, blobs: BlobStore, place: Place, manifest: Manifest, report: Report
) -> None:
    """Raises StartError when the place is not empty or the backup is damaged."""
    for problem in await problems_of_lists(place, manifest):
        raise _damaged(problem)
    await check_empty(database)
    await _claim(blobs, manifest)
    await _copy(blobs, place, manifest)
    report.say(f"{manifest.objects.lines} objects; now the rows")
    await load_rows(database, place, manifest)
    await blobs.delete([_MARK])


async def _claim(blobs: BlobStore, manifest: Manifest) -> None:
    """The blob store is empty, or a restoration of this backup was broken off."""
    try:
        if await blobs.get(_MARK) == manifest.id.encode():
            return
        raise StartError(
            "the blob store holds what is left of the restoration of another backup: empty it"
        )
    except BlobNotFoundError:
        pass
    for folder in (*FOLDERS, INSTALLATIONS):
        async for page in blobs.pages(folder):
            if page:
                raise StartError(
                    f"the blob store is not empty (it has {page[0].key}): restore into a new data "
                    "directory, or a new bucket or prefix in blobs.url"
                )
    await blobs.put(_MARK, manifest.id.encode())


async def _copy(blobs: BlobStore, place: Place, manifest: Manifest) -> None:
    async def one(entry: Entry) -> None:
        await patiently(lambda: _put(blobs, place, manifest, entry))

    async for group in in_groups(place.entries(manifest)):
        await in_parallel(one, group)


async def _put(blobs: BlobStore, place: Place, manifest: Manifest, entry: Entry) -> None:
    if await _is_there(blobs, entry):
        return
    key = place.object(manifest.id, entry.key)
    try:
        await blobs.put(entry.key, _checked(place, key, entry))
    except BlobNotFoundError:
        raise _damaged(f"{key} is missing") from None


async def _is_there(blobs: BlobStore, entry: Entry) -> bool:
    """Put by a restoration that was broken off, of these very bytes."""
    try:
        if await blobs.size(entry.key) != entry.bytes:
            return False
        digested = Digested(blobs.stream(entry.key, 0, entry.bytes))
        await digested.drain()
    except BlobNotFoundError:
        return False
    return digested.sha256 == entry.sha256


async def _checked(place: Place, key: str, entry: Entry) -> AsyncIterator[bytes]:
    """The last piece is only handed on when all of them are as they were written."""
    digested = Digested(place.store.stream(key, 0, entry.bytes))
    held = b""
    async for piece in digested.pieces():
        if held:
            yield held
        held = piece
    if digested.sha256 != entry.sha256:
        raise _damaged(f"{key} has other bytes than were written")
    yield held


def _damaged(what: str) -> StartError:
    return StartError(
        f"the backup is damaged ({what}), so no row is restored: use another backup, and see "
        "`vllm-batch backup verify`"
    )
