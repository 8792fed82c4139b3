"""Which webhooks hear of a batch's end: those that are there when it ends."""

import msgspec
import pytest
from sqlalchemy import select

from batch_common import clock
from batch_common.config import Webhook
from batch_common.tables import deliveries
from support.webhook_endpoint import add_endpoint, set_endpoint

from .conftest import House

URL = "https://example.com/hook"
# The house's.
TENANT = "t"


async def places(house: House, batch_id: str) -> list[tuple[str, str]]:
    """Sink and endpoint of each delivery of a batch that has ended."""
    async with house.database.read() as conn:
        rows = (
            await conn.execute(select(deliveries).where(deliveries.c.batch_id == batch_id))
        ).all()
    assert {(row.state, row.attempts, row.tenant) for row in rows} == {("pending", 0, TENANT)}
    assert len({row.event_id for row in rows}) == 1
    return sorted((row.sink, row.endpoint) for row in rows)


async def test_every_endpoint_of_the_tenant_and_the_batchs_own_url(house: House) -> None:
    wanted = [await add_endpoint(house.database, URL, tenant=TENANT) for _ in range(2)]
    await add_endpoint(house.database, URL, tenant="another")
    await add_endpoint(house.database, URL, tenant=TENANT, event_types=["batch.completed"])
    deleted = await add_endpoint(house.database, URL, tenant=TENANT)
    await set_endpoint(house.database, deleted, deleted_at=clock.timestamp())
    house.start_scheduler()
    batch_id = await house.submit_lines(b"no JSON\n", metadata={"webhook_url": URL})
    assert (await house.ended(batch_id)).status == "failed"
    assert await places(house, batch_id) == sorted(
        [
            ("webhook", ""),
            ("webhook_url", ""),
            *(("webhook_endpoint", endpoint) for endpoint in wanted),
        ]
    )


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
async def test_switched_off_only_the_configured_ones(house: House) -> None:
    await add_endpoint(house.database, URL, tenant=TENANT)
    off = msgspec.structs.replace(house.config.sinks, webhook=Webhook(by_api=False))
    house.start_scheduler(sinks=off)
    batch_id = await house.submit_lines(b"no JSON\n", metadata={"webhook_url": URL})
    await house.ended(batch_id)
    assert await places(house, batch_id) == [("webhook", "")]
