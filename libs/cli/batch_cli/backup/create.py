"""Making a backup while everything runs.

The order is: most objects, then the rows of one moment, then the objects that are new since.

- An object stands before a row names it. So all that the rows of moment T name is there at T, and
  what has not gone by the last step is found by it, whatever was written in between. Objects before
  rows alone would miss those that came in between; that is why rows never come last.
- An object goes only after its row has let go of it. Files and results go a day later, which the
  last step is in time for; the first step has those whose day was just over. Plans and segments go
  at once. A plan that was there when the first step passed is copied; one that came later has an
  input file that is still there, and the plan is made again from it. A segment goes when its chunk
  is committed: then the chunk's manifest and results are there for the last step, and where the
  backup is restored the reconciler finds them. A manifest that was copied without its results,
  because they came while the store was listed, is not believed there: the chunk is done again.
- Objects newer than the rows do no harm: an attempt's results have names of their own, plans are
  named by their content, and what no row needs is collected a day later.

Nothing is taken from JetStream: it is transport, and all of it is made again from rows. The
manifest is put last, so a backup that was broken off is none.
"""

import time
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import Any, Final

import msgspec

from batch_cli.backup.digest import Digested
from batch_cli.backup.formats import Dump, Entry, Manifest
from batch_cli.backup.index import Index
from batch_cli.backup.named import named_by
from batch_cli.backup.objects import Copier
from batch_cli.backup.place import Place
from batch_cli.backup.snapshot import Snapshot, Watch, dump_rows
from batch_cli.standalone.report import Report
from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_common.errors import StartError
from batch_common.formats.content import Part, decode_content
from batch_common.ids import new_id

_SHOWN: Final = 5


async def create(database: Database, blobs: BlobStore, place: Place, report: Report) -> Manifest:
    """Raises StartError, DatabaseUnavailableError, BlobUnavailableError and BlobStoreFullError;
    then there is no backup, and what was copied is written over by the next one.
    """
    backup_id = new_id("backup_")
    began_at = clock.wall()
    with Index.scratch() as index:
        earlier = await _earlier(place, index)
        copier = Copier(blobs, place, backup_id, index)
        await copier.copy()
        report.say(f"{copier.copied} objects copied ({copier.copied_bytes} bytes); now the rows")
        snapshot = await dump_rows(database, place, backup_id, _watch(index))
        _check_same(snapshot, earlier, place)
        began = time.monotonic()
        await copier.copy()
        report.say(
            f"{sum(dump.lines for dump in snapshot.tables)} rows; objects since then took "
            f"{time.monotonic() - began:.1f} s, {copier.copied} copied in all"
        )
        missing = await _count_missing(place, backup_id, index, report)
        objects, total = await _put_index(place, backup_id, index)
    manifest = Manifest(
        id=backup_id,
        release=metadata.version("vllm-batch-server"),
        schema=snapshot.schema,
        installation=snapshot.installation,
        began_at=began_at,
        rows_at=snapshot.at,
        ended_at=clock.wall(),
        tables=snapshot.tables,
        objects=objects,
        object_bytes=total,
        missing=missing,
    )
    await place.put_manifest(manifest)
    return manifest


async def _earlier(place: Place, index: Index) -> Manifest | None:
    """The last whole backup; what it has need not be copied."""
    whole = await place.manifests()
    if not whole:
        return None
    await index.remember(place.entries(whole[-1]))
    return whole[-1]


def _check_same(snapshot: Snapshot, earlier: Manifest | None, place: Place) -> None:
    theirs = earlier.installation if earlier else ""
    if theirs and snapshot.installation and theirs != snapshot.installation:
        raise StartError(
            f"{place.name} holds backups of another installation: give each a place of its own"
        )


def _watch(index: Index) -> Watch:
    async def watch(table: str, rows: Sequence[Any]) -> None:
        named = named_by(table, rows)
        await index.name(named.objects)
        await index.name_composed(named.composed)
        await index.name_running(named.running)

    return watch


async def _count_missing(place: Place, backup_id: str, index: Index, report: Report) -> int:
    """What the rows name and the store has lost: told, and no reason to have no backup."""
    async for key in index.composed():
        parts = await _parts(place, place.object(backup_id, key))
        await index.name([(part.key, part.bytes, None) for part in parts])
    number = 0
    async for key in index.missing():
        number += 1
        if number <= _SHOWN:
            report.say(f"missing in the blob store, so in the backup too: {key}")
    if number > _SHOWN:
        report.say(f"… and {number - _SHOWN} more")
    return number


async def _parts(place: Place, key: str) -> tuple[Part, ...]:
    try:
        return decode_content(await place.store.get(key)).parts
    except msgspec.DecodeError:
        return ()


async def _put_index(place: Place, backup_id: str, index: Index) -> tuple[Dump, int]:
    digested = Digested(_lines(index))
    await place.store.put(place.index(backup_id), digested.pieces())
    number, total = await index.totals()
    return Dump("objects", number, digested.bytes, digested.sha256), total


async def _lines(index: Index) -> AsyncIterator[bytes]:
    lines: list[bytes] = []
    async for entry in index.entries():
        lines.append(_line(entry))
        if len(lines) == 1000:
            yield b"".join(lines)
            lines.clear()
    yield b"".join(lines)


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
