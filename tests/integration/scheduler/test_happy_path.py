"""A batch that meets no trouble, from the file to the files."""

from collections.abc import Awaitable, Callable

from sqlalchemy import select

from batch_common.state import BatchStatus
from batch_common.tables import deliveries, outbox
from support.fake_runner import FakeRunner

from .conftest import House, request_line

Serving = Callable[..., Awaitable[FakeRunner]]


async def test_every_line_gets_its_result(house: House, serving: Serving) -> None:
    house.start_scheduler()
    await serving()
    ids = [f"a{n}" for n in range(95)] + [f"bad{n}" for n in range(5)]
    batch_id = await house.submit_lines(*map(request_line, ids), metadata={"k": "v"})
    batch = await house.ended(batch_id)
    assert batch.status == BatchStatus.COMPLETED
    assert (batch.total, batch.completed, batch.failed) == (100, 95, 5)
    assert (batch.input_tokens, batch.cached_tokens, batch.output_tokens) == (500, 100, 200)
    assert batch.model == "m"
    assert batch.in_progress_at
    assert batch.finalizing_at
    assert batch.completed_at
    output, errors = await house.outcome(batch)
    assert output == sorted(i for i in ids if i.startswith("a"))
    assert errors == sorted(i for i in ids if i.startswith("bad"))
    async with house.database.read() as conn:
        [row] = await conn.execute(select(deliveries))
        types = (await conn.execute(select(outbox.c.subject).order_by(outbox.c.id))).scalars()
        assert (row.batch_id, row.sink, row.event_type) == (batch_id, "webhook", "batch.completed")
        kinds = [kind for kind in types if kind.startswith("batch.")]
    assert kinds == ["batch.submitted", "batch.in_progress", "batch.completed"]
