"""The input file of a batch: whether the tenant may use it, and where its bytes are."""

import msgspec
from sqlalchemy import or_, select

from batch_common import clock
from batch_common.errors import BlobNotFoundError
from batch_common.formats.content import Part, decode_content
from batch_common.tables import files
from batch_scheduler.context import AnyRow, Context


async def find_input(context: Context, batch: AnyRow) -> AnyRow | None:
    """None for an unknown file, another tenant's, one of another purpose, a deleted or expired
    one: nobody learns which.
    """
    usable = select(files).where(
        files.c.id == batch.input_file_id,
        files.c.tenant == batch.tenant,
        files.c.purpose == "batch",
        files.c.deleted_at.is_(None),
        or_(files.c.expires_at.is_(None), files.c.expires_at > clock.now()),
    )
    async with context.database.read() as conn:
        return (await conn.execute(usable)).first()


async def parts_of(context: Context, file: AnyRow) -> tuple[Part, ...]:
    """The objects that hold a file's bytes, in order. Raises BlobNotFoundError."""
    if not file.composed:
        return (Part(file.blob_key, file.bytes),)
    try:
        return decode_content(await context.blobs.get(file.blob_key)).parts
    except msgspec.DecodeError as error:
        raise BlobNotFoundError(file.blob_key) from error
