"""Where backups lie: a folder or an object store, for any number of backups of one installation.

backups/<id>/tables/<table>.jsonl  rows: a line of column names, then a line for each row
backups/<id>/objects.jsonl         every object that belongs to the backup, see formats
backups/<id>/objects/<key>         those that may be written anew under their key
objects/<key>                      all other objects; backups share them, for they never change
manifests/<id>.json                put last: without it there is no backup
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from batch_cli.backup.formats import (
    Entry,
    Manifest,
    decode_entry,
    decode_manifest,
    encode_manifest,
    is_id,
)
from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Blobs
from batch_common.errors import BlobNotFoundError, StartError

_BACKUPS: Final = "backups/"
_MANIFESTS: Final = "manifests/"
_OBJECTS: Final = "objects/"
# The list of parts of a batch's result file: a restored installation may end a batch once more,
# with other parts, under the same key.
_WRITTEN_ANEW: Final = "results/"


class Place:
    """Backups and the objects they share. `name` is what the user called it."""

    def __init__(self, store: BlobStore, name: str) -> None:
        self.store = store
        self.name = name

    def table(self, backup_id: str, table: str) -> str:
        return f"{_BACKUPS}{backup_id}/tables/{table}.jsonl"

    def index(self, backup_id: str) -> str:
        return f"{_BACKUPS}{backup_id}/objects.jsonl"

    def object(self, backup_id: str, key: str) -> str:
        folder = f"{_BACKUPS}{backup_id}/" if key.startswith(_WRITTEN_ANEW) else ""
        return f"{folder}{_OBJECTS}{key}"

    async def put_manifest(self, manifest: Manifest) -> None:
        await self.store.put(_manifest(manifest.id), encode_manifest(manifest))

    async def manifests(self) -> list[Manifest]:
        """Of every whole backup, oldest first. Raises StartError for one of another release."""
        keys = sorted(info.key for info in await self.store.list(_MANIFESTS))
        return [decode_manifest(await self.store.get(key), key) for key in keys]

    async def is_used(self) -> bool:
        """Whether anything of a backup is there, whole or broken off."""
        for folder in (_MANIFESTS, _BACKUPS, _OBJECTS):
            async for page in self.store.pages(folder):
                if page:
                    return True
        return False

    async def manifest(self, backup_id: str | None) -> Manifest:
        """None: the latest. Raises StartError where there is none."""
        if backup_id is None:
            found = await self.manifests()
            if not found:
                raise StartError(f"there is no whole backup in {self.name}: check the path or URL")
            return found[-1]
        key = _manifest(backup_id)
        try:
            if not is_id(backup_id):
                raise BlobNotFoundError(key)
            return decode_manifest(await self.store.get(key), key)
        except BlobNotFoundError:
            raise StartError(
                f"there is no whole backup {backup_id!r} in {self.name}: "
                "`vllm-batch backup list` shows those there are"
            ) from None

    async def lines(self, key: str) -> AsyncIterator[bytes]:
        """Of one of its files, without their newlines. Raises BlobNotFoundError."""
        rest = b""
        async for piece in self.store.stream(key, 0, await self.store.size(key)):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line

    async def entries(self, manifest: Manifest) -> AsyncIterator[Entry]:
        """The objects of a backup, by key. Raises StartError for a list that is none."""
        index = self.index(manifest.id)
        async for line in self.lines(index):
            yield decode_entry(line, index)


def open_place(url: str, options: dict[str, str], *, make: bool = False) -> Place:
    """`url`: a path, or what blobs.url takes. Raises ConfigError, StartError.

    `make`: a folder that is not there is made; else that is an error, and nothing is.
    """
    folder = _folder(url)
    if folder is not None:
        if not make and not all((folder / name).is_dir() for name in ("objects", "incoming")):
            raise StartError(f"{url} is no place of backups: check the path")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"cannot make the folder {error.filename} for backups: {error.strerror}; "
                "give another one"
            ) from error
        return Place(open_blobs(Blobs(url=folder.as_uri()), folder), url)
    settings = msgspec.convert({"url": url, "options": options}, Blobs, dec_hook=_secret)
    return Place(open_blobs(settings, Path()), url)


def _folder(url: str) -> Path | None:
    """None: it is no folder of this machine."""
    if "://" not in url:
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _secret(kind: type, value: object) -> object:
    return kind(value)


def _manifest(backup_id: str) -> str:
    return f"{_MANIFESTS}{backup_id}.json"
