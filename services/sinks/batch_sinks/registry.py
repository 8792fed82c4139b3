"""The sinks there are, by the names that `sinks.enabled` uses."""

from collections.abc import Callable, Mapping
from typing import Final

from batch_common import config
from batch_common.errors import ConfigError
from batch_sinks.sink import Sink
from batch_sinks.webhook import make_webhook

SINKS: Final[Mapping[str, Callable[[config.Sinks], Sink]]] = {"webhook": make_webhook}


def make_sinks(settings: config.Sinks) -> tuple[Sink, ...]:
    """The enabled ones, in their order. Raises ConfigError. Needs a running event loop."""
    if unknown := [name for name in settings.enabled if name not in SINKS]:
        raise ConfigError(
            f"sinks.enabled names {', '.join(map(repr, unknown))}, which is no sink: "
            f"choose from {', '.join(sorted(SINKS))}"
        )
    return tuple(SINKS[name](settings) for name in settings.enabled)
