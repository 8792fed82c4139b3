"""Copying objects between blob stores: bounded memory, some at a time, tried again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from batch_cli.backup.digest import Digested
from batch_cli.backup.formats import Entry
from batch_cli.backup.index import Index
from batch_cli.backup.place import Place
from batch_common.blobs import BlobInfo, BlobStore
from batch_common.errors import BlobNotFoundError, TransientError
from batch_common.keys import FOLDERS, INSTALLATIONS, is_suspects

S = TypeVar("S")
T = TypeVar("T")

# Each holds 1 MiB, and a store behind a network a part of an upload besides.
AT_ONCE: Final = 8
_TRIES: Final = 5
_PAUSE_S: Final = 0.5


class Copier:
    """Takes the objects of `source` to `place`; `copied` counts what had to be copied."""

    def __init__(self, source: BlobStore, place: Place, backup_id: str, index: Index) -> None:
        self._source = source
        self._place = place
        self._id = backup_id
        self._index = index
        self.copied = 0
        self.copied_bytes = 0

    async def copy(self) -> None:
        """All there are now and the index has not. One that goes meanwhile is left out."""
        for folder in (*FOLDERS, INSTALLATIONS):
            async for page in self._source.pages(folder):
                # Written anew as a hunt for poison goes on; without it the hunt starts again.
                wanted = [info for info in page if not is_suspects(info.key)]
                shared = self._place.object(self._id, folder) == self._place.object("", folder)
                unknown = await self._index.unknown(wanted, shared=shared)
                found = await in_parallel(self._copy, unknown)
                await self._index.add([entry for entry in found if entry is not None])

    async def _copy(self, info: BlobInfo) -> Entry | None:
        try:
            entry = await patiently(lambda: self._put(info))
        except BlobNotFoundError:
            return None
        self.copied += 1
        self.copied_bytes += entry.bytes
        return entry

    async def _put(self, info: BlobInfo) -> Entry:
        digested = Digested(self._source.stream(info.key, 0, info.bytes))
        target = self._place.object(self._id, info.key)
        await self._place.store.put(target, digested.pieces())
        return Entry(info.key, digested.bytes, digested.sha256)


async def in_parallel(work: Callable[[S], Awaitable[T]], items: Sequence[S]) -> list[T]:
    """The results in the order of `items`. The first failure ends the others."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(item: S) -> T:
        async with turns:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Tries again after passing faults. Raises the last one."""
    for attempt in range(1, _TRIES):
        try:
            return await work()
        except TransientError:
            await asyncio.sleep(_PAUSE_S * 2**attempt)
    return await work()


async def in_groups(entries: AsyncIterator[Entry], size: int = 200) -> AsyncIterator[list[Entry]]:
    """`size` at a time, so that some can be worked on side by side."""
    group: list[Entry] = []
    async for entry in entries:
        group.append(entry)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
