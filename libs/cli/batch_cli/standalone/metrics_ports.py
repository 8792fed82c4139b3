"""A metrics port for each service of one standalone run, and the list of them for Prometheus."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from batch_common.config import Metrics
from batch_common.errors import ConfigError

# They have the first ports, in this order, whatever the number of runners; theirs follow.
_FIRST: Final = ("scheduler", "gateway", "sinks")
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104

_LAST: Final = 65_535


def metrics_ports(settings: Metrics, services: Iterable[str]) -> dict[str, int]:
    """By the service's name in this run (`runner-2`), from `settings.port` on; none for 0.

    Raises ConfigError where there are too few.
    """
    if not settings.port:
        return {}
    names = (*_FIRST, *(name for name in services if name not in _FIRST))
    if settings.port + len(names) > _LAST + 1:
        raise ConfigError(
            f"metrics.port {settings.port} leaves too few ports for {len(names)} services: "
            f"choose one below {_LAST + 2 - len(names)}"
        )
    return {name: settings.port + n for n, name in enumerate(names)}


def targets(host: str, ports: Mapping[str, int]) -> str:
    """For Prometheus's `file_sd_configs`; the job says which service it is."""
    reached = _reached(host)
    listed = [
        {
            "targets": [f"{reached}:{port}"],
            "labels": {"job": f"vllm-batch-{name.partition('-')[0]}"},
        }
        for name, port in ports.items()
    ]
    return msgspec.json.format(msgspec.json.encode(listed), indent=2).decode() + "\n"


def addresses(host: str, ports: Mapping[str, int]) -> str:
    """For people, on one line."""
    reached = _reached(host)
    return ", ".join(f"{name} http://{reached}:{port}/metrics" for name, port in ports.items())


def _reached(host: str) -> str:
    return _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
