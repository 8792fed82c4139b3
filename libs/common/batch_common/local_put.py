"""Durable puts into a folder: temporary file, fsync, rename, fsync of the folders."""

import asyncio
import contextlib
import errno
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from batch_common.errors import BlobStoreFullError, BlobUnavailableError
from batch_common.keys import check_key

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ABANDONED_S: Final = 6 * 3600.0
_TRIES: Final = 10


class LocalPut:
    """Writes objects below `folder/objects`; pieces of unfinished ones wait in `incoming`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.objects = folder / "objects"
        self._incoming = folder / "incoming"
        try:
            self.objects.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
        except OSError as error:
            raise _failed(self._folder, error) from error
        self.sweep()

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> int:
        path = self._path(key)
        temporary = self._incoming / uuid.uuid4().hex
        try:
            size = await self._write(temporary, data)
            await asyncio.to_thread(_publish, temporary, path)
        except OSError as error:
            raise _failed(self._folder, error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return size

    async def _write(self, temporary: Path, data: bytes | AsyncIterator[bytes]) -> int:
        if isinstance(data, bytes):
            return await asyncio.to_thread(_write_whole, temporary, data)
        size = 0
        file = await asyncio.to_thread(temporary.open, "xb", buffering=0)
        try:
            async for piece in data:
                await asyncio.to_thread(_write_all, file, piece)
                size += len(piece)
            await asyncio.to_thread(os.fsync, file.fileno())
        finally:
            await asyncio.to_thread(file.close)
        return size

    def _path(self, key: str) -> Path:
        check_key(key)
        return self.objects.joinpath(*PurePosixPath(key).parts)

    def sweep(self) -> None:
        """Removes pieces that a killed process left; none is untouched for six hours while it is
        being written.
        """
        for leftover in self._incoming.iterdir():
            with contextlib.suppress(OSError):
                if leftover.stat().st_mtime < time.time() - _ABANDONED_S:
                    leftover.unlink()

    def prune(self) -> None:
        """Removes folders that have been empty for six hours: each would cost an inode for ever.

        Those right below `objects` stay. A put into one that goes makes it anew.
        """
        before = time.time() - _ABANDONED_S
        for kept in self.objects.iterdir():
            for folder, _, names in os.walk(kept, topdown=False):
                if not names and Path(folder) != kept:
                    with contextlib.suppress(OSError):  # it has folders, or another was first
                        _remove_if_old(folder, before)


def _remove_if_old(folder: str, before: float) -> None:
    if Path(folder).stat().st_mtime < before:
        Path(folder).rmdir()


def _write_whole(path: Path, data: bytes) -> int:
    with path.open("xb", buffering=0) as file:
        _write_all(file, data)
        os.fsync(file.fileno())
    return len(data)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _publish(temporary: Path, path: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            _make_folders(path.parent)
            temporary.replace(path)
            break
        except FileNotFoundError:  # a folder was pruned in between
            if not (tries_left and temporary.exists()):
                raise
    with contextlib.suppress(FileNotFoundError):  # or the object deleted, and then the folder
        _sync_folder(path.parent)


def _make_folders(folder: Path) -> None:
    """A new folder is durable only once its parent is synced."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):  # `exist_ok` looks again, and it may be gone by then
        folder.mkdir()
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(folder: Path, error: OSError) -> BlobStoreFullError | BlobUnavailableError:
    if error.errno in _FULL:
        return BlobStoreFullError(
            f"no space is left for the blob store in {folder} ({error.strerror}): "
            "free some, or point blobs.url at a larger store"
        )
    return BlobUnavailableError(f"the blob store in {folder} failed: {error}")
