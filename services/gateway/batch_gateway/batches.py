"""The routes of Batches."""

import re
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from batch_common.cloudevents import TRACE, new_traceparent
from batch_common.config import Sinks
from batch_gateway.batch_request import parse_batch_request
from batch_gateway.batch_store import BatchStore
from batch_gateway.documented import ERRORS, EXPIRES_AFTER, PAIRS, TEXT, Creates, takes
from batch_gateway.idempotency import Once
from batch_gateway.objects import Batch, BatchList
from batch_gateway.paging import check_limit
from batch_gateway.retry import Retry
from batch_gateway.sink_choice import check_sinks
from batch_gateway.task_schemas import TaskSchemas
from batch_gateway.webhook_request import check_batch_url

_CREATE = takes(
    "application/json",
    {"input_file_id": TEXT, "endpoint": TEXT, "completion_window": TEXT},
    metadata=PAIRS,
    output_expires_after=EXPIRES_AFTER,
)
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@post("/v1/batches", status_code=200, responses=ERRORS, operation_class=_CREATE, tags=["Batches"])
async def create_batch(
    request: Request[Any, Any, Any],
    tenant: NamedDependency[str],
    batch_store: NamedDependency[BatchStore],
    windows: NamedDependency[Mapping[str, int]],
    schemas: NamedDependency[TaskSchemas],
    handlers: NamedDependency[Sinks],
    once: NamedDependency[Once],
) -> Response[Batch]:
    """Accepts a batch; its input is validated after this answer."""
    raw = await request.body()
    wanted = parse_batch_request(raw, windows)
    once.body.json(raw)
    trace = _trace(request)

    async def make() -> Batch:
        # Not before: a request that is sent again is answered with what was made first.
        check_sinks(wanted.metadata, handlers.enabled)
        check_batch_url(wanted.metadata, handlers.webhook)
        schema = await schemas.of(wanted)
        return await batch_store.create(tenant, wanted, trace, once.keep, schema)

    return await once.answer(make)


@get("/v1/batches", responses=ERRORS, tags=["Batches"])
async def list_batches(
    tenant: NamedDependency[str],
    batch_store: NamedDependency[BatchStore],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
) -> BatchList:
    """Lists batches, the newest first."""
    return await batch_store.page(tenant, after=after, limit=check_limit(limit, 100))


@get("/v1/batches/{batch_id:str}", responses=ERRORS, tags=["Batches"])
async def retrieve_batch(
    batch_id: FromPath[str], tenant: NamedDependency[str], batch_store: NamedDependency[BatchStore]
) -> Batch:
    return await batch_store.find(tenant, batch_id)


@post("/v1/batches/{batch_id:str}/cancel", status_code=200, responses=ERRORS, tags=["Batches"])
async def cancel_batch(
    batch_id: FromPath[str], tenant: NamedDependency[str], batch_store: NamedDependency[BatchStore]
) -> Batch:
    """Asks for cancellation. The body is ignored: OpenAI's client sends none, as JSON."""
    return await batch_store.cancel(tenant, batch_id)


@post(
    "/v1/batches/{batch_id:str}/retry",
    status_code=200,
    responses=ERRORS,
    operation_class=Creates,
    tags=["Batches"],
)
async def retry_batch(
    request: Request[Any, Any, Any],
    batch_id: FromPath[str],
    tenant: NamedDependency[str],
    retry: NamedDependency[Retry],
    once: NamedDependency[Once],
) -> Response[Batch]:
    """Makes a new batch of an ended one's failed, expired and cancelled requests.

    The body is ignored.
    """
    once.body.json(b"")
    trace = _trace(request)
    return await once.answer(lambda: retry.create(tenant, batch_id, trace, once.keep))


def _trace(request: Request[Any, Any, Any]) -> str:
    given = request.headers.get(TRACE, "")
    return given if _TRACEPARENT.fullmatch(given) else new_traceparent()


ROUTES = [create_batch, list_batches, retrieve_batch, cancel_batch, retry_batch]
