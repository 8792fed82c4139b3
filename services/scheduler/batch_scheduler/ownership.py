"""Whose blob store it is. Two databases may share one; then neither can tell an orphan."""

from sqlalchemy import insert, select

from batch_common.ids import new_id
from batch_common.keys import INSTALLATIONS, installation
from batch_common.logs import get_log
from batch_common.tables import installation as installations
from batch_scheduler.context import Context

log = get_log(__name__)


async def register(context: Context) -> None:
    """Leaves this database's id in the blob store."""
    key = installation(await _own_id(context))
    if key not in await _registered(context):
        await context.blobs.put(key, b"")


async def is_shared(context: Context) -> bool:
    """Also when this database is not registered yet, or a new one on an old store."""
    others = await _registered(context) - {installation(await _own_id(context))}
    if others:
        log.warning(
            "blob_store_shared",
            others=sorted(others),
            hint="orphans are not collected: give each database a blob store (or prefix) of its "
            "own, or delete the named objects when their databases are gone",
        )
    return bool(others)


async def _registered(context: Context) -> set[str]:
    return {info.key for info in await context.blobs.list(INSTALLATIONS)}


async def _own_id(context: Context) -> str:
    """The first one counts, should two schedulers have made one each."""
    first = select(installations.c.id).order_by(installations.c.id).limit(1)
    async with context.database.read() as conn:
        found: str | None = (await conn.execute(first)).scalar()
    if found is not None:
        return found
    async with context.database.write("installation") as conn:
        await conn.execute(insert(installations).values(id=new_id("inst_")))
    return await _own_id(context)
