"""A migrated database to copy: migrating takes longer than many an example."""

import asyncio
from pathlib import Path

from batch_common.config import Database
from batch_common.db import open_database
from batch_common.migrate import migrate


def make(folder: Path) -> Path:
    """The file, which nobody has open."""

    async def run() -> None:
        database = open_database(Database(), folder)
        await migrate(database)
        await database.close()

    asyncio.run(run())
    return folder / "batches.db"
