"""An attempt that raises what nobody foresaw is one row's failure, and no other's."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy.exc import DataError

from batch_common.blobs import BlobStore
from batch_common.db import Database
from batch_sinks.deliverer import Deliverer
from batch_sinks.ended import EndedBatch, EndedBatches
from batch_sinks.sink import DeliveryError, Item
from support.receiver import Receiver
from support.wait import until
from support.webhook_endpoint import add_endpoint

from .conftest import EndBatch, FindRow, InState, Serve


class SilentError(DeliveryError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS: list[Callable[[], Exception]] = [
    lambda: ValueError('A ":" is not allowed in login'),
    lambda: UnicodeEncodeError("latin-1", "Ł", 0, 1, "ordinal not in range"),
    lambda: KeyError("\ud800\0"),
    lambda: OSError(5, "Input/output error"),
    lambda: DataError("INSERT", {}, ValueError("out of range")),
    SilentError,
]


class Odd:
    """Raises at a batch's first attempt."""

    name = "odd"
    limit_s = 5.0
    side_by_side = for_each = 4

    def __init__(self, make: Callable[[], Exception], where: str, what: str) -> None:
        self._make = make
        self._where = where
        self._batch_id = what

    async def wants(self, item: Item, batch: EndedBatch) -> bool:  # noqa: ARG002 - the protocol has it
        self._at("wants", item)
        return True

    async def deliver(self, item: Item, batch: EndedBatch) -> None:  # noqa: ARG002 - as above
        self._at("deliver", item)

    async def close(self) -> None:
        """Nothing is open."""

    def _at(self, where: str, item: Item) -> None:
        if (where, item.batch_id, item.attempt) == (self._where, self._batch_id, 1):
            raise self._make()


@pytest.mark.parametrize("where", ["wants", "deliver"])
@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
async def test_whatever_is_raised_is_a_failed_attempt_of_that_row(
    database: Database,
    blobs: BlobStore,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    make: Callable[[], Exception],
    where: str,
) -> None:
    bad, good = [await end_batch(sinks=("odd",)) for _ in range(2)]
    batches = EndedBatches(database, blobs)
    deliverer = Deliverer(database, Odd(make, where, bad), batches, 60.0)
    stop = asyncio.Event()
    running = asyncio.create_task(deliverer.run(stop))

    async def failed() -> bool:
        return (await find_row(bad, "odd")).last_error is not None

    try:
        await until(failed, what="the failed attempt")
        row = await find_row(bad, "odd")
        kind = "RuntimeError" if make is ERRORS[-1] else type(make()).__name__
        assert f"an error that nobody foresaw ({kind})" in row.last_error
        assert (row.state, row.claimed_until) == ("pending", None)
        await until(in_state("delivered", bad, good, sink="odd"))
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


@pytest.mark.parametrize("user", ["us%3Aer:pw", "Ł:pw"])
async def test_a_url_from_before_such_were_refused_ends_no_service(
    serve: Serve,
    receiver: Receiver,
    database: Database,
    end_batch: EndBatch,
    find_row: FindRow,
    in_state: InState,
    user: str,
) -> None:
    bad = await add_endpoint(database, f"http://{user}@127.0.0.1:{receiver.port}/bad")
    place = f"webhook_endpoint/{bad}"
    async with serve(handlers={"enabled": ("webhook",)}) as stop:
        batch_id = await end_batch(sinks=("webhook", place))

        async def refused() -> bool:
            return (await find_row(batch_id, place)).last_error is not None

        await until(refused, what="the failed attempt")
        assert "must not hold a user or password" in (await find_row(batch_id, place)).last_error
        await until(in_state("delivered", batch_id))
        assert not stop.is_set()
