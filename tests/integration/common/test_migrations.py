"""What an older release has written is still there after an upgrade."""

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, select, text

import batch_common
from batch_common import config
from batch_common.db import open_database
from batch_common.migrate import migrate
from batch_common.tables import deliveries

OLD_DELIVERIES = """
    INSERT INTO deliveries (
        batch_id, sink, tenant, event_id, event_type, state, attempts, created_at, next_at,
        last_error
    ) VALUES
        ('batch_1', 'webhook', 'default', 'evt_1', 'batch.completed', 'pending', 3, 1, 2.5, 'no'),
        ('batch_1', 's3', 'default', 'evt_1', 'batch.completed', 'delivered', 1, 1, 1, NULL)
"""


def upgrade_to(connection: Connection, revision: str) -> None:
    settings = AlembicConfig()
    folder = Path(batch_common.__path__[0]) / "migrations"
    settings.set_main_option("script_location", str(folder))
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


async def test_deliveries_keep_their_state(
    database_settings: config.Database, tmp_path: Path
) -> None:
    """Their table is made anew on the way."""
    database = open_database(database_settings, tmp_path)
    async with database.write("in a test") as conn:
        await conn.run_sync(upgrade_to, "0003")
        await conn.execute(text(OLD_DELIVERIES))
    await migrate(database)
    async with database.read() as conn:
        s3, webhook = await conn.execute(select(deliveries).order_by(deliveries.c.sink))
    await database.close()
    assert (s3.sink, s3.endpoint, s3.state) == ("s3", "", "delivered")
    assert (webhook.endpoint, webhook.state, webhook.attempts) == ("", "pending", 3)
    assert (webhook.next_at, webhook.last_error) == (2.5, "no")
