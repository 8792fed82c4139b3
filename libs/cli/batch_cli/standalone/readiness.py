"""Asking the gateway whether everything serves."""

import http.client
from typing import Final

import msgspec

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - looked up only


class _Model(msgspec.Struct):
    runners: int = 0


class _Readiness(msgspec.Struct):
    models: dict[str, _Model] = {}


def reachable(host: str) -> str:
    """The address by which this machine reaches a server that listens on `host`."""
    return _ANY.get(host, host)


def base_url(host: str, port: int) -> str:
    """What a client is given."""
    name = reachable(host)
    return f"http://[{name}]:{port}/v1" if ":" in name else f"http://{name}:{port}/v1"


def is_ready(host: str, port: int, runners: int) -> bool:
    """Whether API and database answer and each model that is there has `runners` runners. Blocks.

    A runner announces its models once its engine serves, all of them at once.
    """
    models = _look(host, port)
    return bool(models) and all(model.runners >= runners for model in models.values())


def served_models(host: str, port: int) -> frozenset[str]:
    """The models that a runner serves now. Blocks."""
    return frozenset(name for name, model in _look(host, port).items() if model.runners)


def _look(host: str, port: int) -> dict[str, _Model]:
    """Empty while the API does not answer, or says that something it needs does not."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        found = msgspec.json.decode(answer.read(1 << 20), type=_Readiness)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return {}
    finally:
        connection.close()
    return found.models if answer.status == 200 else {}
