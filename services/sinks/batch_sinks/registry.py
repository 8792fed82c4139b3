"""The sinks that the configuration asks for, by the names that `result_handlers.enabled` uses."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from batch_common import config
from batch_common.errors import ConfigError
from batch_common.webhooks import ENDPOINT_SINK, URL_SINK
from batch_sinks.handler_sink import HandlerSink
from batch_sinks.label_studio import make_label_studio
from batch_sinks.load import load_handler
from batch_sinks.postgres import make_postgres
from batch_sinks.s3 import make_s3
from batch_sinks.sink import Sink
from batch_sinks.webhook import BatchUrlSink, Endpoints, EndpointSink, make_webhook
from batch_sinks.webhook.signature import signing_key

BUILT_IN: Final[Mapping[str, Callable[[config.Sinks], Sink]]] = {
    "label_studio": make_label_studio,
    "postgres": make_postgres,
    "s3": make_s3,
    "webhook": make_webhook,
}
# Made by `make_api_sinks`, whatever is enabled.
ALWAYS: Final = frozenset({ENDPOINT_SINK, URL_SINK})
# Names stand in subjects, durable names and metric labels.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def make_sinks(settings: config.Sinks) -> tuple[Sink, ...]:
    """The enabled ones, in their order. Raises ConfigError. Needs a running event loop."""
    if taken := sorted((BUILT_IN.keys() | ALWAYS) & settings.custom.keys()):
        raise ConfigError(
            f"result_handlers.custom.{taken[0]} has the name of a built-in one: give it another"
        )
    signing_key(settings.webhook.secret)  # whatever is enabled: it signs for batches' own URLs
    return tuple(_make(name, settings) for name in settings.enabled)


def make_api_sinks(settings: config.Webhook, endpoints: Endpoints) -> tuple[Sink, ...]:
    """Those that tenants ask for themselves."""
    return BatchUrlSink(settings), EndpointSink(settings, endpoints)


def _make(name: str, settings: config.Sinks) -> Sink:
    if name in ALWAYS:
        raise ConfigError(
            f"result_handlers.enabled names {name!r}, which is there without that: leave it out, "
            "and set result_handlers.webhook.by_api to false if you do not want it"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"result_handlers.enabled names {name!r}: names are letters, digits, _ and -. A class "
            "is named in result_handlers.custom.NAME.handler, and NAME is what is enabled"
        )
    if make := BUILT_IN.get(name):
        return make(settings)
    own = settings.custom.get(name, config.CustomHandler())
    handler = load_handler(name, own, settings.folder, sorted(BUILT_IN))
    return HandlerSink(name, handler, limit_s=own.limit_s, side_by_side=own.parallel)
