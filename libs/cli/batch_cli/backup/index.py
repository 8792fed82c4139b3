"""The index of a backup while it is made: on disk, so that memory does not grow with the store."""

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from batch_cli.backup.formats import Entry
from batch_common.blobs import BlobInfo

_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE earlier (key TEXT PRIMARY KEY, bytes INTEGER, sha256 TEXT) WITHOUT ROWID;
    CREATE TABLE entries (key TEXT PRIMARY KEY, bytes INTEGER, sha256 TEXT) WITHOUT ROWID;
    CREATE TABLE named (key TEXT PRIMARY KEY, bytes INTEGER, batch TEXT) WITHOUT ROWID;
    CREATE TABLE composed (key TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE running (batch TEXT PRIMARY KEY) WITHOUT ROWID;
"""
# What rows name that must be there: of a chunk only while no file lists its objects.
_MISSING: Final = """
    SELECT named.key FROM named LEFT JOIN entries ON entries.key = named.key
    WHERE (entries.key IS NULL OR entries.bytes != named.bytes)
    AND (named.batch IS NULL OR named.batch IN (SELECT batch FROM running))
    ORDER BY named.key
"""
_AT_ONCE: Final = 1000


class Index:
    """Objects in the backup (`entries`), in the one before it (`earlier`), and named by rows."""

    def __init__(self, path: Path) -> None:
        # Used from worker threads, one call at a time.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_SCHEMA)

    @classmethod
    @contextlib.contextmanager
    def scratch(cls) -> Iterator[Self]:
        with tempfile.TemporaryDirectory(prefix="vllm-batch-backup-") as folder:
            index = cls(Path(folder) / "index.db")
            try:
                yield index
            finally:
                index._db.close()

    async def remember(self, earlier: AsyncIterator[Entry]) -> None:
        """What the place holds already."""
        rows: list[Entry] = []
        async for entry in earlier:
            rows.append(entry)
            if len(rows) == _AT_ONCE:
                await self._insert("earlier", rows)
                rows = []
        await self._insert("earlier", rows)

    async def unknown(self, page: Sequence[BlobInfo], *, shared: bool) -> list[BlobInfo]:
        """Those of `page` to be copied; `shared`: what the earlier backup has need not be."""
        return await asyncio.to_thread(self._unknown, page, shared)

    def _unknown(self, page: Sequence[BlobInfo], shared: bool) -> list[BlobInfo]:
        if shared:
            self._db.executemany(
                "INSERT OR IGNORE INTO entries SELECT * FROM earlier WHERE key = ? AND bytes = ?",
                [(info.key, info.bytes) for info in page],
            )
        find = "SELECT 1 FROM entries WHERE key = ? AND bytes = ?"
        return [
            info for info in page if not self._db.execute(find, (info.key, info.bytes)).fetchone()
        ]

    async def add(self, entries: Sequence[Entry]) -> None:
        await self._insert("entries", entries)

    async def _insert(self, table: str, entries: Sequence[Entry]) -> None:
        rows = [(it.key, it.bytes, it.sha256) for it in entries]
        await self._many(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", rows)  # noqa: S608

    async def name(self, named: Sequence[tuple[str, int | None, str | None]]) -> None:
        """Keys that rows name, with the size (None: unknown) and the batch of a chunk's object.

        What was said last counts: a file that lists a chunk's object says more than the chunk.
        """
        await self._many("INSERT OR REPLACE INTO named VALUES (?, ?, ?)", named)

    async def name_composed(self, keys: Iterable[str]) -> None:
        await self._many("INSERT OR IGNORE INTO composed VALUES (?)", [(key,) for key in keys])

    async def name_running(self, batch_ids: Iterable[str]) -> None:
        await self._many("INSERT OR IGNORE INTO running VALUES (?)", [(it,) for it in batch_ids])

    async def composed(self) -> AsyncIterator[str]:
        """Composed files whose list of parts is in the backup."""
        query = "SELECT key FROM composed WHERE key IN (SELECT key FROM entries)"
        async for [key] in self._rows(query):
            yield key

    async def missing(self) -> AsyncIterator[str]:
        """What rows name and the backup has not, or in another size."""
        async for [key] in self._rows(_MISSING):
            yield key

    async def entries(self) -> AsyncIterator[Entry]:
        """By key."""
        async for row in self._rows("SELECT key, bytes, sha256 FROM entries ORDER BY key"):
            yield Entry(*row)

    async def totals(self) -> tuple[int, int]:
        """Objects and their bytes."""
        query = "SELECT count(*), coalesce(sum(bytes), 0) FROM entries"
        return await asyncio.to_thread(lambda: self._db.execute(query).fetchone())

    async def _many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            await asyncio.to_thread(self._db.executemany, statement, rows)

    async def _rows(self, query: str) -> AsyncIterator[Any]:
        cursor = await asyncio.to_thread(self._db.execute, query)
        while rows := await asyncio.to_thread(cursor.fetchmany, _AT_ONCE):
            for row in rows:
                yield row
