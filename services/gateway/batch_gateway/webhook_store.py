"""Rows of webhook endpoints, read and written for a tenant."""

import base64
import secrets
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.db import Database
from batch_common.ids import new_id
from batch_common.state import DeliveryState
from batch_common.tables import deliveries, webhook_endpoints
from batch_common.webhooks import ENDPOINT_SINK
from batch_gateway.errors import ApiError
from batch_gateway.idempotency import Keep
from batch_gateway.objects import page_ends
from batch_gateway.paging import is_id, read_page
from batch_gateway.webhook_objects import (
    WebhookEndpoint,
    WebhookEndpointDeleted,
    WebhookEndpointList,
    WebhookEndpointWithSecret,
)
from batch_gateway.webhook_request import EndpointRequest

# Each has a delivery of its own for every batch of its tenant.
MOST: Final = 100
_OLD_FOR_S: Final = 24 * 3600
# Whoever rotates more often within a day lets the oldest go: a header has to hold all signatures.
_MOST_OLD: Final = 3
_SECRET_BYTES: Final = 32
_SHOWN: Final = 4


class WebhookStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, tenant: str, wanted: EndpointRequest, keep: Keep
    ) -> WebhookEndpointWithSecret:
        """With a new secret. Raises ApiError (400) where the tenant has MOST already."""
        at = clock.timestamp()
        statement = insert(webhook_endpoints).values(
            id=new_id("we_"),
            tenant=tenant,
            name=wanted.name,
            url=wanted.url,
            event_types=wanted.event_types,
            secret=_new_secret(),
            old_secrets=[],
            created_at=at,
            updated_at=at,
        )
        async with self._database.write("webhook create") as conn:
            await _check_room(conn, tenant)
            row = (await conn.execute(statement.returning(*webhook_endpoints.c))).one()
            made = _with_secret(row)
            await keep(conn, made)
            return made

    async def page(self, tenant: str, *, after: str | None, limit: int) -> WebhookEndpointList:
        """The newest first."""
        async with self._database.read() as conn:
            rows, has_more = await read_page(
                conn, _present(), webhook_endpoints, tenant, after=after, limit=limit
            )
        data = [_shown(row) for row in rows]
        first, last = page_ends(data)
        return WebhookEndpointList(data=data, first_id=first, last_id=last, has_more=has_more)

    async def find(self, tenant: str, endpoint_id: str) -> WebhookEndpoint:
        """Raises ApiError (404)."""
        async with self._database.read() as conn:
            return _shown(await _row(conn, tenant, endpoint_id))

    async def change(
        self, tenant: str, endpoint_id: str, changes: Mapping[str, object]
    ) -> WebhookEndpoint:
        """Deliveries that wait are tried at once where the URL is another one."""
        async with self._database.write("webhook change") as conn:
            row = await _row(conn, tenant, endpoint_id, lock=True)
            new = {name: value for name, value in changes.items() if getattr(row, name) != value}
            if not new:
                return _shown(row)
            row = await _set(conn, row, **new)
            if "url" in new:
                await _hurry(conn, row)
            return _shown(row)

    async def rotate(
        self, tenant: str, endpoint_id: str, keep: Keep, *, keep_old: bool
    ) -> WebhookEndpointWithSecret:
        """`keep_old`: what is sent within a day is signed with the old secret as well."""
        async with self._database.write("webhook rotate") as conn:
            row = await _row(conn, tenant, endpoint_id, lock=True)
            old = _still_good(row, clock.timestamp()) if keep_old else []
            row = await _set(conn, row, secret=_new_secret(), old_secrets=old)
            made = _with_secret(row)
            await keep(conn, made)
            return made

    async def delete(self, tenant: str, endpoint_id: str) -> WebhookEndpointDeleted:
        """Deliveries that wait are skipped: the sinks service looks at them at once."""
        async with self._database.write("webhook delete") as conn:
            row = await _row(conn, tenant, endpoint_id, lock=True)
            at = clock.timestamp()
            await _set(conn, row, secret="", old_secrets=[], url="", deleted_at=at)
            await _hurry(conn, row)
        return WebhookEndpointDeleted(id=endpoint_id)


def _present() -> Any:
    return select(webhook_endpoints).where(webhook_endpoints.c.deleted_at.is_(None))


async def _row(
    conn: AsyncConnection, tenant: str, endpoint_id: str, *, lock: bool = False
) -> Row[Any]:
    """`lock`: within a write, so that what was read holds until its end."""
    statement = _present().where(
        webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.tenant == tenant
    )
    if lock:
        statement = statement.with_for_update()
    row = (await conn.execute(statement)).first() if is_id(endpoint_id) else None
    if row is None:
        raise ApiError(404, f"No webhook endpoint found with id '{endpoint_id}'.", param="id")
    found: Row[Any] = row
    return found


async def _set(conn: AsyncConnection, row: Row[Any], **values: object) -> Row[Any]:
    statement = (
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == row.id)
        .values(updated_at=clock.timestamp(), **values)
        .returning(*webhook_endpoints.c)
    )
    return (await conn.execute(statement)).one()


async def _hurry(conn: AsyncConnection, endpoint: Row[Any]) -> None:
    await conn.execute(
        update(deliveries)
        .where(
            deliveries.c.sink == ENDPOINT_SINK,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.endpoint == endpoint.id,
        )
        .values(next_at=clock.now())
    )


async def _check_room(conn: AsyncConnection, tenant: str) -> None:
    own: ColumnElement[bool] = webhook_endpoints.c.tenant == tenant
    count = select(func.count()).where(own, webhook_endpoints.c.deleted_at.is_(None))
    if (await conn.execute(count)).scalar_one() >= MOST:
        raise ApiError(
            400,
            f"There are {MOST} webhook endpoints already, and no more are possible: delete one.",
            code="too_many_webhook_endpoints",
        )


def _new_secret() -> str:
    """As Standard Webhooks has them: padded standard base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _still_good(row: Row[Any], now: int) -> list[dict[str, Any]]:
    older = [kept for kept in row.old_secrets if kept["until"] > now]
    return [{"secret": row.secret, "until": now + _OLD_FOR_S}, *older][:_MOST_OLD]


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "signing_secret_hint": f"whsec_...{row.secret.rstrip('=')[-_SHOWN:]}",
    }


def _shown(row: Row[Any]) -> WebhookEndpoint:
    return WebhookEndpoint(**_fields(row))


def _with_secret(row: Row[Any]) -> WebhookEndpointWithSecret:
    return WebhookEndpointWithSecret(**_fields(row), signing_secret=row.secret)
