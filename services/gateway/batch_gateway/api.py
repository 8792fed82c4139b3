"""The HTTP application: routes, what they depend on, and the OpenAPI document."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import HttpMethod, Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Method

from batch_common import clock
from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.config import Config
from batch_common.db import Database
from batch_common.model_spec import served_names
from batch_common.task_schema_folder import TaskSchemaFolder
from batch_gateway import (
    batches,
    deliveries,
    files,
    health,
    models,
    progress,
    results,
    uploads,
    webhooks,
)
from batch_gateway.auth import tenant_of
from batch_gateway.batch_store import BatchStore
from batch_gateway.edge import Edge
from batch_gateway.errors import answer
from batch_gateway.file_store import FileStore
from batch_gateway.health import Health
from batch_gateway.idempotency import once_of
from batch_gateway.models import ModelStore
from batch_gateway.progress import Progress
from batch_gateway.retry import Retry
from batch_gateway.task_schemas import TaskSchemas
from batch_gateway.upload_flow import UploadFlow
from batch_gateway.upload_store import UploadStore
from batch_gateway.webhook_samples import Samples
from batch_gateway.webhook_store import WebhookStore
from batch_gateway.webhooks import webhook_store_of

# Of bodies that are read whole: JSON. Uploads have their own limits.
_MAX_BODY = 2 << 20


class Parts(msgspec.Struct, frozen=True):
    """What the application is made of; `progress` wants running beside it."""

    app: ASGIApp
    progress: Progress


def make_api(
    config: Config,
    windows: Mapping[str, int],
    database: Database,
    bus: Bus,
    blobs: BlobStore,
    stop: asyncio.Event,
) -> Parts:
    """`windows`: seconds by completion window. Open event streams end when `stop` is set."""
    batch_store = BatchStore(database)
    file_store = FileStore(database, blobs)
    upload_store = UploadStore(database)
    shown = Progress(batch_store, stop)
    configured = {*config.models, *served_names(config.runner)}
    app = Litestar(
        route_handlers=[
            *files.ROUTES,
            *uploads.ROUTES,
            *batches.ROUTES,
            *results.ROUTES,
            *deliveries.ROUTES,
            *progress.ROUTES,
            *models.ROUTES,
            *webhooks.ROUTES,
            *health.ROUTES,
        ],
        dependencies={
            "tenant": Provide(tenant_of, sync_to_thread=False),
            "once": Provide(once_of, sync_to_thread=False),
            "webhook_store": Provide(webhook_store_of, sync_to_thread=False),
            **_values(
                database=database,
                blobs=blobs,
                limits=config.limits,
                windows=windows,
                handlers=config.sinks,
                batch_store=batch_store,
                file_store=file_store,
                upload_store=upload_store,
                upload_flow=UploadFlow(upload_store, file_store, blobs, config.limits),
                model_store=ModelStore(database, configured, clock.timestamp()),
                retry=Retry(batch_store, file_store, blobs),
                schemas=TaskSchemas(TaskSchemaFolder(config.schemas)),
                all_webhooks=WebhookStore(database),
                samples=Samples(bus, config.sinks.webhook),
                progress=shown,
                health=Health(database, bus, blobs),
            ),
        },
        exception_handlers={HTTPException: answer, Exception: answer},
        openapi_config=_OPENAPI,
        request_max_body_size=_MAX_BODY,
        logging_config=None,
    )
    return Parts(Edge(app, config.gateway.api_keys), shown)


def _values(**values: Any) -> dict[str, Provide]:
    return {name: Provide(_constant(value), sync_to_thread=False) for name, value in values.items()}


def _constant(value: Any) -> Any:
    def give() -> Any:
        return value

    return give


def _operation_id(handler: HTTPRouteHandler, method: Method, _path: object) -> str:
    """One handler answers GET and HEAD of downloads; ids are unique all the same."""
    name = handler.handler_name.rpartition(".")[2]
    return name if method != HttpMethod.HEAD else f"{name}_head"


_OPENAPI = OpenAPIConfig(
    title="vllm-batch-server",
    version="1",
    description="The OpenAI Batch API, self-hosted: Files, Uploads, Batches, Models and Webhooks.",
    path="/schema",
    operation_id_creator=_operation_id,
    render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
    components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
    security=[{"key": []}],
)
