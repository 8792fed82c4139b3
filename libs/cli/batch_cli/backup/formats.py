"""What a backup says of itself."""

import re
from pathlib import PurePosixPath
from typing import Final

import msgspec

from batch_common import tables
from batch_common.errors import StartError
from batch_common.keys import FOLDERS, INSTALLATIONS

_VERSION: Final = 1
_ID: Final = re.compile(r"backup_[0-9a-z]+")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An object of the blob store: a line of objects.jsonl. sha256 in hexadecimal digits."""

    key: str
    bytes: int
    sha256: str


class Dump(msgspec.Struct, frozen=True):
    """A file of lines: a table's rows, the line of column names not counted, or the objects."""

    name: str
    lines: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix seconds. The rows are those of one moment, `rows_at`."""

    id: str
    # Release and schema revision that wrote the rows.
    release: str
    schema: str
    # The row of `installation`; empty: there was none yet.
    installation: str
    began_at: float
    rows_at: float
    ended_at: float
    tables: tuple[Dump, ...]
    objects: Dump
    object_bytes: int
    # Objects that rows name and the blob store had lost already.
    missing: int
    version: int = _VERSION

    def rows(self, table: str) -> int:
        return next((dump.lines for dump in self.tables if dump.name == table), 0)


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Raises StartError for a damaged one, and one of a newer release."""
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version == _VERSION:
            manifest = msgspec.json.decode(data, type=Manifest)
            _check_names(manifest, where)
            return manifest
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartError(
            f"the backup's manifest {where} is damaged ({error}): use another backup"
        ) from error
    raise StartError(
        f"the backup's manifest {where} is of version {version}, which this release does not "
        "know: use the release that has made it"
    )


def _check_names(manifest: Manifest, where: str) -> None:
    """What becomes part of a path is what this release makes such names of."""
    strange = [dump.name for dump in manifest.tables if dump.name not in tables.metadata.tables]
    if not is_id(manifest.id) or PurePosixPath(where).stem != manifest.id:
        strange.insert(0, manifest.id)
    if strange:
        raise StartError(
            f"the backup's manifest {where} is damaged (it names {strange[0]!r}): use another "
            "backup"
        )


def is_id(backup_id: str) -> bool:
    return _ID.fullmatch(backup_id) is not None


def decode_entry(line: bytes, where: str) -> Entry:
    """Raises StartError for a line that is none, or whose key no service of ours would read."""
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StartError(
            f"the backup's list {where} is damaged ({error}): use another backup"
        ) from error
    parts = entry.key.split("/")
    ours = entry.key.startswith((*FOLDERS, INSTALLATIONS))
    if not ours or not {"", ".", ".."}.isdisjoint(parts) or "\0" in entry.key or entry.bytes < 0:
        raise StartError(
            f"the backup's list {where} is damaged (it names the object {entry.key!r}): use "
            "another backup"
        )
    return entry


class _Version(msgspec.Struct):
    version: int
