"""Asking the gateway whether everything serves."""

import http.client
from typing import Final

import msgspec

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - looked up only


class _Model(msgspec.Struct):
    runners: int = 0


class _Readiness(msgspec.Struct):
    status: str = ""
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
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        found = msgspec.json.decode(answer.read(1 << 20), type=_Readiness)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return False
    finally:
        connection.close()
    serving = bool(found.models) and all(m.runners >= runners for m in found.models.values())
    return answer.status == 200 and serving
