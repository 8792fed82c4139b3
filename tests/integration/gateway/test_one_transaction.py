"""A gateway that dies right after a commit: what stands in it stands together."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from batch_common import crash_points
from batch_common.crash_points import Side
from batch_common.errors import DatabaseUnavailableError
from batch_common.tables import batches, idempotency_keys, outbox
from support.gateway import CHAT

KEY = {"idempotency-key": "k-1"}
BATCH = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}


@pytest.fixture
def dying() -> Iterator[list[str]]:
    """The first batch's commit is made, and nothing after it; the commits that struck."""
    struck: list[str] = []

    async def strike(name: str, side: Side) -> None:
        if (name, side) == ("commit batch create", Side.AFTER) and not struck:
            struck.append(name)
            raise DatabaseUnavailableError("the gateway is gone")

    crash_points.install(strike)
    yield struck
    crash_points.install(None)


async def test_a_gateway_that_dies_after_its_commit_has_kept_the_key(
    served: Any, dying: list[str]
) -> None:
    """Else the client's second try would make a second batch."""
    first = await served.http.post("/v1/batches", json=BATCH, headers=KEY)
    assert (first.status_code, dying) == (503, ["commit batch create"])
    again = await served.http.post("/v1/batches", json=BATCH, headers=KEY)
    assert again.status_code == 200, again.text
    async with served.database.read() as conn:
        [batch] = await conn.execute(select(batches))
        [key] = await conn.execute(select(idempotency_keys))
        [event] = await conn.execute(select(outbox))
    assert again.json()["id"] == batch.id
    assert (key.key, event.subject) == ("k-1", "batch.submitted")
