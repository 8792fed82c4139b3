"""Where a batch's results have gone, as its owner sees it."""

from typing import Any

from sqlalchemy import insert

from batch_common.tables import deliveries
from support.gateway import make_batch, set_batch


def auth(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def add(served: Any, batch_id: str, sink: str, state: str, **values: Any) -> None:
    row = {
        "batch_id": batch_id,
        "sink": sink,
        "tenant": "default",
        "event_id": "evt_1",
        "event_type": "batch.completed",
        "state": state,
        "created_at": 1700000000,
        "next_at": 1700000001.5,
        "attempts": 1,
    }
    async with served.database.write("in a test") as conn:
        await conn.execute(insert(deliveries).values(**row | values))


async def test_each_sink_has_its_delivery(served: Any) -> None:
    batch = (await make_batch(served.http))["id"]
    empty = (await served.http.get(f"/v1/batches/{batch}/deliveries")).json()
    assert empty == {"object": "list", "data": [], "has_more": False}
    await set_batch(served.database, batch, status="completed")
    await add(served, batch, "webhook", "pending", last_error="the receiver answered 500")
    await add(served, batch, "postgres", "delivered", delivered_at=1700000003, link="https://l/1")
    answer = (await served.http.get(f"/v1/batches/{batch}/deliveries")).json()
    postgres, webhook = answer["data"]
    assert postgres == {
        "object": "batch.delivery",
        "batch_id": batch,
        "sink": "postgres",
        "webhook_endpoint_id": None,
        "status": "delivered",
        "event_type": "batch.completed",
        "attempts": 1,
        "next_attempt_at": None,
        "delivered_at": 1700000003,
        "last_error": None,
        "link": "https://l/1",
    }
    assert (webhook["sink"], webhook["status"]) == ("webhook", "pending")
    assert (webhook["next_attempt_at"], webhook["delivered_at"]) == (1700000001, None)
    assert webhook["last_error"] == "the receiver answered 500"


async def test_another_tenants_batch_looks_like_an_unknown_one(two_tenants: Any) -> None:
    two_tenants.http.headers.update(auth("sk-a"))
    batch = (await make_batch(two_tenants.http))["id"]
    await add(two_tenants, batch, "webhook", "pending", tenant="a")
    mine = await two_tenants.http.get(f"/v1/batches/{batch}/deliveries", headers=auth("sk-a"))
    assert len(mine.json()["data"]) == 1
    theirs = await two_tenants.http.get(f"/v1/batches/{batch}/deliveries", headers=auth("sk-b"))
    unknown = await two_tenants.http.get(
        "/v1/batches/batch_unknown/deliveries", headers=auth("sk-b")
    )
    assert (theirs.status_code, unknown.status_code) == (404, 404)
