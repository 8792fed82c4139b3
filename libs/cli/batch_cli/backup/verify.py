"""Reading a backup through: is everything there, and as it was written?"""

from collections.abc import AsyncIterator

from batch_cli.backup.digest import Digested
from batch_cli.backup.formats import Entry, Manifest
from batch_cli.backup.objects import in_groups, in_parallel, patiently
from batch_cli.backup.place import Place
from batch_common.errors import BlobNotFoundError


async def problems_of(place: Place, manifest: Manifest, *, sizes: bool) -> AsyncIterator[str]:
    """What is wrong, a line each. `sizes`: of objects only these are looked at, not the bytes."""
    of_lists = await problems_of_lists(place, manifest)
    for problem in of_lists:
        yield problem
    if any(problem.startswith(place.index(manifest.id)) for problem in of_lists):
        return

    async def check(entry: Entry) -> str | None:
        return await patiently(lambda: _of_object(place, manifest, entry, sizes=sizes))

    async for group in in_groups(place.entries(manifest)):
        for found in await in_parallel(check, group):
            if found:
                yield found


async def problems_of_lists(place: Place, manifest: Manifest) -> list[str]:
    """Of the rows, and of the list of objects."""
    lists = {place.table(manifest.id, dump.name): dump for dump in manifest.tables}
    lists[place.index(manifest.id)] = manifest.objects
    checks = [await _problem(place, key, it.bytes, it.sha256) for key, it in lists.items()]
    return [problem for problem in checks if problem]


async def _of_object(place: Place, manifest: Manifest, entry: Entry, *, sizes: bool) -> str | None:
    key = place.object(manifest.id, entry.key)
    return await _problem(place, key, entry.bytes, None if sizes else entry.sha256)


async def _problem(place: Place, key: str, size: int, sha256: str | None) -> str | None:
    """`sha256` None: not looked at."""
    try:
        found = await place.store.size(key)
        if found != size:
            return f"{key} has {found} bytes, not {size}"
        if sha256 is None:
            return None
        digested = Digested(place.store.stream(key, 0, size))
        await digested.drain()
    except BlobNotFoundError:
        return f"{key} is missing"
    return None if digested.sha256 == sha256 else f"{key} has other bytes than were written"
