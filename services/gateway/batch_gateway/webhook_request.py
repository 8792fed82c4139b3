"""What the routes of webhook endpoints are asked for."""

from typing import Any, Final

import msgspec

from batch_common.config import Webhook
from batch_common.events import TERMINAL_TYPES
from batch_common.webhooks import URL_KEY, WebhookUrlError, parse_target
from batch_gateway.errors import ApiError
from batch_gateway.parameters import Body, text, wrong_type

_MAX_NAME: Final = 256
_MAX_URL: Final = 2048


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    url: str
    event_types: list[str]


def parse_endpoint(raw: bytes, settings: Webhook) -> EndpointRequest:
    """Raises ApiError (400)."""
    body = Body(raw)
    return EndpointRequest(
        name=_name(body.required("name")),
        url=_url(body.required("url"), "url", settings),
        event_types=_event_types(body.required("event_types")),
    )


def parse_change(raw: bytes, settings: Webhook) -> dict[str, object]:
    """Columns that are to be set; what is absent or null stays. Raises ApiError (400)."""
    body = Body(raw)
    changes: dict[str, object] = {}
    if (name := body.optional("name")) is not None:
        changes["name"] = _name(name)
    if (url := body.optional("url")) is not None:
        changes["url"] = _url(url, "url", settings)
    if (types := body.optional("event_types")) is not None:
        changes["event_types"] = _event_types(types)
    return changes


def parse_rotation(raw: bytes) -> bool:
    """Whether the old secret stays good for a day. An empty body is one without fields."""
    name = "keep_old_secret_active_for_24_hours"
    kept = Body(raw or b"{}").optional(name)
    if kept is not None and not isinstance(kept, bool):
        raise wrong_type(name, "a boolean", kept)
    return bool(kept)


def parse_test(raw: bytes) -> str:
    """The type of the event to send a sample of."""
    return _event_type(Body(raw).required("event_type"), "event_type")


def check_batch_url(metadata: dict[str, str] | None, settings: Webhook) -> None:
    """Of a batch that is to be created. Raises ApiError (400)."""
    url = (metadata or {}).get(URL_KEY)
    if url is None:
        return
    name = f"metadata.{URL_KEY}"
    if not settings.by_api:
        raise _invalid(name, "the operator of this server has switched such webhooks off")
    _url(url, name, settings)


def _name(value: Any) -> str:
    name = text(value, "name")
    if not 1 <= len(name) <= _MAX_NAME:
        raise _invalid("name", f"it must have 1 to {_MAX_NAME} characters")
    return name


def _url(value: Any, name: str, settings: Webhook) -> str:
    url = text(value, name)
    if len(url) > _MAX_URL:
        raise _invalid(name, f"it must have at most {_MAX_URL} characters")
    try:
        parse_target(url, settings)
    except WebhookUrlError as error:
        raise _invalid(name, str(error)) from None
    return url


def _event_types(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise wrong_type("event_types", "an array", value)
    types = [_event_type(item, f"event_types[{n}]") for n, item in enumerate(value)]
    if not types:
        raise _invalid("event_types", "it must name one event type at least")
    return list(dict.fromkeys(types))


def _event_type(value: Any, name: str) -> str:
    found = text(value, name)
    if found not in TERMINAL_TYPES:
        listed = ", ".join(f"'{known}'" for known in TERMINAL_TYPES)
        raise ApiError(
            400,
            f"Invalid value: '{found}'. Supported values are: {listed}.",
            param=name,
            code="invalid_value",
        )
    return found


def _invalid(name: str, why: str) -> ApiError:
    return ApiError(400, f"Invalid '{name}': {why}.", param=name, code="invalid_value")
