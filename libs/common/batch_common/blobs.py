"""The blob store: a local folder, or any object store that obstore speaks to.

A put returns once the object is durable, so a row or an event may refer to it then. An object
appears whole or not at all.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from batch_common import crash_points
from batch_common.config import Blobs
from batch_common.errors import BlobNotFoundError, BlobUnavailableError, ConfigError
from batch_common.keys import check_key, kind_of
from batch_common.local_put import LocalPut

WINDOW_BYTES: Final = 1 << 20
_PAGE_KEYS: Final = 500
# Options of the HTTP client, which obstore takes apart from the store's.
_CLIENT_OPTIONS: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)


class BlobInfo(msgspec.Struct, frozen=True):
    key: str
    bytes: int
    # Unix seconds.
    modified_at: float


class BlobStore:
    """Objects under keys. Local puts are fsynced, which obstore's own are not."""

    def __init__(self, store: Any, local: LocalPut | None) -> None:
        self._store = store
        self._local = local

    @property
    def is_local(self) -> bool:
        return self._local is not None

    async def put(self, key: str, data: bytes | AsyncIterator[bytes]) -> int:
        """Stores and returns the size in bytes; replaces an object of that key.

        When `data` raises, its exception comes through and no object is left. Raises
        BlobStoreFullError without space, BlobUnavailableError on passing faults, ValueError for
        a key that leaves the store.
        """
        check_key(key)
        point = f"put {kind_of(key)}"
        await crash_points.before(point)
        if self._local is not None:
            size = await self._local.put(key, data)
        else:
            size = await self._put_remote(key, data)
        await crash_points.after(point)
        return size

    async def get(self, key: str) -> bytes:
        """The whole object: for small ones. Raises BlobNotFoundError, BlobUnavailableError."""
        try:
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise BlobNotFoundError(key) from error
        except (BaseError, OSError) as error:
            raise _unavailable("read", key, error) from error

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive); fewer where the object ends first."""
        if start >= end:
            return b""
        try:
            return await self._read_range(key, start, end)
        except BlobUnavailableError:
            # Stores refuse a range that reaches past the end, each in words of its own.
            size = await self.size(key)
            if end <= size:
                raise
            return await self.get_range(key, start, size)

    async def _read_range(self, key: str, start: int, end: int) -> bytes:
        try:
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        except (NotFoundError, FileNotFoundError) as error:
            raise BlobNotFoundError(key) from error
        except (BaseError, OSError) as error:
            raise _unavailable("read", key, error) from error

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The same range in pieces of at most 1 MiB."""
        while start < end:
            piece = await self.get_range(key, start, min(start + WINDOW_BYTES, end))
            if not piece:
                return
            yield piece
            start += len(piece)

    async def size(self, key: str) -> int:
        """Bytes. Raises BlobNotFoundError."""
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except (NotFoundError, FileNotFoundError) as error:
            raise BlobNotFoundError(key) from error
        except (BaseError, OSError) as error:
            raise _unavailable("look up", key, error) from error

    async def list(self, prefix: str) -> list[BlobInfo]:
        """Every object whose key starts with `prefix` (which ends in `/`), in no set order."""
        return [info async for page in self.pages(prefix) for info in page]

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[BlobInfo]]:
        """The same, some hundred at a time: for prefixes that hold more than one batch's."""
        try:
            async for page in obstore.list(self._store, prefix, chunk_size=_PAGE_KEYS):
                yield [BlobInfo(m["path"], m["size"], m["last_modified"].timestamp()) for m in page]
        except (BaseError, OSError) as error:
            raise _unavailable("list", prefix, error) from error

    async def tidy(self) -> None:
        """Removes the pieces that killed processes left of objects they were writing, and folders
        whose objects are gone.
        """
        if self._local is not None:
            await asyncio.to_thread(self._local.sweep)
            await asyncio.to_thread(self._local.prune)

    async def delete(self, keys: Sequence[str]) -> None:
        """Absent keys are fine."""
        for key in keys:
            point = f"delete {kind_of(key)}"
            await crash_points.before(point)
            try:
                await obstore.delete_async(self._store, key)
            except (NotFoundError, FileNotFoundError):
                continue
            except (BaseError, OSError) as error:
                raise _unavailable("delete", key, error) from error
            await crash_points.after(point)

    async def _put_remote(self, key: str, data: bytes | AsyncIterator[bytes]) -> int:
        counted = _Counted(data) if not isinstance(data, bytes) else None
        try:
            await obstore.put_async(self._store, key, counted.pieces() if counted else data)
        except (BaseError, OSError) as error:
            if counted and counted.failure:
                raise counted.failure from error
            raise _unavailable("write", key, error) from error
        return counted.bytes if counted else len(data)  # type: ignore[arg-type]


class _Counted:
    """Counts what passes, and keeps the source's own exception from being wrapped."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.bytes = 0
        self.failure: BaseException | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._source:
                self.bytes += len(piece)
                yield piece
        except BaseException as error:
            self.failure = error
            raise


def _unavailable(verb: str, key: str, error: Exception) -> BlobUnavailableError:
    return BlobUnavailableError(f"the blob store could not {verb} {key!r}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def open_blobs(settings: Blobs, data_dir: Path) -> BlobStore:
    """Raises ConfigError when the URL or its options make no store."""
    url = settings.url or (data_dir / "blobs").as_uri()
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return _open_folder(Path(unquote(parts.path)))
    options: dict[str, Any] = {name: value.reveal() for name, value in settings.options.items()}
    # Given among the store's own, these would end the process in a panic of the extension.
    client: Any = {name: options.pop(name) for name in list(options) if name in _CLIENT_OPTIONS}
    try:
        return BlobStore(from_url(url, client_options=client, **options), None)
    except (BaseError, ValueError, TypeError) as error:
        raise ConfigError(f"blobs.url {url!r} cannot be opened: {_first_line(error)}") from None


def _open_folder(folder: Path) -> BlobStore:
    local = LocalPut(folder)
    return BlobStore(LocalStore(local.objects), local)
