"""Which objects a row of the snapshot counts on. Pure.

Segments, plans and parts of open uploads are not among them: they are computed, made or sent again.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from batch_common.state import TERMINAL, ChunkState

Row = Any


class Named(msgspec.Struct, frozen=True):
    """(key, bytes or None, batch of a chunk or None); lists of parts; batches that go on."""

    objects: tuple[tuple[str, int | None, str | None], ...] = ()
    composed: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


def named_by(table: str, rows: Iterable[Row]) -> Named:
    rule = _RULES.get(table)
    return rule(rows) if rule else Named()


def _files(rows: Iterable[Row]) -> Named:
    """A file is there until it is purged, hidden or not."""
    # Without a purpose yet: its bytes are only coming in.
    kept = [row for row in rows if row.purged_at is None and row.purpose]
    return Named(
        objects=tuple((row.blob_key, None if row.composed else row.bytes, None) for row in kept),
        composed=tuple(row.blob_key for row in kept if row.composed),
    )


def _chunks(rows: Iterable[Row]) -> Named:
    found = []
    for row in rows:
        if row.state != ChunkState.RELEASED:
            objects = ((row.output_key, row.output_bytes), (row.error_key, row.error_bytes))
            found += [(key, size, row.batch_id) for key, size in objects if key is not None]
    return Named(objects=tuple(found))


def _batches(rows: Iterable[Row]) -> Named:
    return Named(running=tuple(row.id for row in rows if row.status not in TERMINAL))


_RULES: Final = {"files": _files, "chunks": _chunks, "batches": _batches}
