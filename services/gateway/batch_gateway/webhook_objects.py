"""OpenAI's objects of webhook endpoints."""

from typing import Literal

import msgspec


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    created_at: int
    # Of the last change of the endpoint or its secret.
    updated_at: int
    # The end of the secret, by which its owner knows it.
    signing_secret_hint: str


class WebhookEndpointWithSecret(WebhookEndpoint, frozen=True, kw_only=True):
    """The answer to creation and rotation, and no other."""

    signing_secret: str


class WebhookEndpointList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[WebhookEndpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class WebhookEndpointDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: bool = True


class WebhookEndpointTest(msgspec.Struct, frozen=True, kw_only=True):
    """`success`: the endpoint answered, whatever `status_code` says."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class WebhookEventTypes(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[str]
