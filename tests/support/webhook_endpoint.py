"""Endpoints as the gateway leaves them in the table."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, update

from batch_common import clock
from batch_common.db import Database
from batch_common.events import TERMINAL_TYPES
from batch_common.ids import new_id
from batch_common.tables import webhook_endpoints

SECRET = "whsec_ZW5kcG9pbnQncyBvd24gc2VjcmV0"


async def add_endpoint(
    database: Database,
    url: str,
    *,
    tenant: str = "default",
    event_types: Sequence[str] = TERMINAL_TYPES,
    secret: str = SECRET,
    old_secrets: Iterable[tuple[str, int]] = (),
) -> str:
    """`old_secrets`: each with the time until which it signs. Returns the endpoint's id."""
    at = clock.timestamp()
    row = {
        "id": new_id("we_"),
        "tenant": tenant,
        "name": "in a test",
        "url": url,
        "event_types": list(event_types),
        "secret": secret,
        "old_secrets": [{"secret": old, "until": until} for old, until in old_secrets],
        "created_at": at,
        "updated_at": at,
    }
    async with database.write("in a test") as conn:
        await conn.execute(insert(webhook_endpoints).values(**row))
    return str(row["id"])


async def set_endpoint(database: Database, endpoint_id: str, **values: Any) -> None:
    async with database.write("in a test") as conn:
        await conn.execute(
            update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id).values(**values)
        )
