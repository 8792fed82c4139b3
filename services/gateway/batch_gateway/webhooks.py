"""The routes of webhook endpoints."""

from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery

from batch_common.config import Sinks
from batch_common.events import TERMINAL_TYPES
from batch_gateway.documented import BOOLEAN, ERRORS, TEXT, TEXTS, reads, takes
from batch_gateway.errors import ApiError, ErrorBody
from batch_gateway.idempotency import Once
from batch_gateway.paging import check_limit
from batch_gateway.webhook_objects import (
    WebhookEndpoint,
    WebhookEndpointDeleted,
    WebhookEndpointList,
    WebhookEndpointTest,
    WebhookEndpointWithSecret,
    WebhookEventTypes,
)
from batch_gateway.webhook_request import (
    parse_change,
    parse_endpoint,
    parse_rotation,
    parse_test,
)
from batch_gateway.webhook_samples import Samples
from batch_gateway.webhook_store import WebhookStore

_TAGS = ["Webhooks"]
_ERRORS = {
    **ERRORS,
    403: ResponseSpec(
        data_container=ErrorBody,
        description="Webhook endpoints are switched off on this server.",
        generate_examples=False,
    ),
}
_CREATE = takes("application/json", {"name": TEXT, "url": TEXT, "event_types": TEXTS})
_CHANGE = reads({}, name=TEXT, url=TEXT, event_types=TEXTS)
_ROTATE = takes("application/json", {}, keep_old_secret_active_for_24_hours=BOOLEAN)
_TEST = reads({"event_type": TEXT})


def webhook_store_of(
    handlers: NamedDependency[Sinks], all_webhooks: NamedDependency[WebhookStore]
) -> WebhookStore:
    """A dependency of every route but one. Raises ApiError (403) where they are switched off."""
    if not handlers.webhook.by_api:
        raise ApiError(
            403, "Webhook endpoints are switched off on this server: ask its operator for them."
        )
    return all_webhooks


@post(
    "/v1/webhook_endpoints",
    status_code=200,
    responses=_ERRORS,
    operation_class=_CREATE,
    tags=_TAGS,
)
async def create_webhook_endpoint(
    request: Request[Any, Any, Any],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
    handlers: NamedDependency[Sinks],
    once: NamedDependency[Once],
) -> Response[WebhookEndpointWithSecret]:
    """The only answer besides a rotation's that shows the signing secret."""
    raw = await request.body()
    wanted = parse_endpoint(raw, handlers.webhook)
    once.body.json(raw)
    return await once.answer(lambda: webhook_store.create(tenant, wanted, once.keep))


@get("/v1/webhook_endpoints", responses=_ERRORS, tags=_TAGS)
async def list_webhook_endpoints(
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
    after: FromQuery[str | None] = None,
    limit: FromQuery[int] = 20,
) -> WebhookEndpointList:
    """Lists endpoints, the newest first."""
    return await webhook_store.page(tenant, after=after, limit=check_limit(limit, 100))


@get("/v1/webhook_endpoints/{endpoint_id:str}", responses=_ERRORS, tags=_TAGS)
async def retrieve_webhook_endpoint(
    endpoint_id: FromPath[str],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
) -> WebhookEndpoint:
    return await webhook_store.find(tenant, endpoint_id)


@post(
    "/v1/webhook_endpoints/{endpoint_id:str}",
    status_code=200,
    responses=_ERRORS,
    operation_class=_CHANGE,
    tags=_TAGS,
)
async def update_webhook_endpoint(
    request: Request[Any, Any, Any],
    endpoint_id: FromPath[str],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
    handlers: NamedDependency[Sinks],
) -> WebhookEndpoint:
    """Changes what the body names; `event_types` replaces all of them."""
    wanted = parse_change(await request.body(), handlers.webhook)
    return await webhook_store.change(tenant, endpoint_id, wanted)


@delete("/v1/webhook_endpoints/{endpoint_id:str}", status_code=200, responses=_ERRORS, tags=_TAGS)
async def delete_webhook_endpoint(
    endpoint_id: FromPath[str],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
) -> WebhookEndpointDeleted:
    """What was to be delivered to it is skipped."""
    return await webhook_store.delete(tenant, endpoint_id)


@post(
    "/v1/webhook_endpoints/{endpoint_id:str}/rotate_secret",
    status_code=200,
    responses=_ERRORS,
    operation_class=_ROTATE,
    tags=_TAGS,
)
async def rotate_webhook_secret(
    request: Request[Any, Any, Any],
    endpoint_id: FromPath[str],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
    once: NamedDependency[Once],
) -> Response[WebhookEndpointWithSecret]:
    """A new signing secret; the old one signs beside it for a day, if the body asks for that."""
    raw = await request.body()
    keep_old = parse_rotation(raw)
    once.body.json(raw)
    return await once.answer(
        lambda: webhook_store.rotate(tenant, endpoint_id, once.keep, keep_old=keep_old)
    )


@post(
    "/v1/webhook_endpoints/{endpoint_id:str}/test",
    status_code=200,
    responses=_ERRORS,
    operation_class=_TEST,
    tags=_TAGS,
)
async def try_webhook_endpoint(
    request: Request[Any, Any, Any],
    endpoint_id: FromPath[str],
    tenant: NamedDependency[str],
    webhook_store: NamedDependency[WebhookStore],
    samples: NamedDependency[Samples],
) -> WebhookEndpointTest:
    """Sends a sample of an event; `status_code` is what the endpoint answered."""
    event_type = parse_test(await request.body())
    await webhook_store.find(tenant, endpoint_id)
    return await samples.send(tenant, endpoint_id, event_type)


@get("/v1/webhook_event_types", responses=_ERRORS, tags=_TAGS)
async def list_webhook_event_types(
    handlers: NamedDependency[Sinks],
) -> WebhookEventTypes:
    """None where endpoints are switched off."""
    return WebhookEventTypes(data=[*TERMINAL_TYPES] if handlers.webhook.by_api else [])


ROUTES = [
    create_webhook_endpoint,
    list_webhook_endpoints,
    retrieve_webhook_endpoint,
    update_webhook_endpoint,
    delete_webhook_endpoint,
    rotate_webhook_secret,
    try_webhook_endpoint,
    list_webhook_event_types,
]
