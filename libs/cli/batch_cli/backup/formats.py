"""What a backup says of itself."""

from typing import Final

import msgspec

from batch_common.errors import StartError

_VERSION: Final = 1


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
            return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise StartError(
            f"the backup's manifest {where} is damaged ({error}): use another backup"
        ) from error
    raise StartError(
        f"the backup's manifest {where} is of version {version}, which this release does not "
        "know: use the release that has made it"
    )


class _Version(msgspec.Struct):
    version: int
