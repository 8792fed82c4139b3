"""Requests that make something: sent again after a fault, they make it once all the same."""

import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from batch_cli.client.api import Api, Body
from batch_cli.client.errors import ApiError, NoServerError, NotOursError, UnreachableError

HEADER: Final = "Idempotency-Key"
# A server that restarts is back by then.
_GIVE_UP_S: Final = 60.0
_PAUSE_S: Final = 1.0
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


def create(
    api: Api, path: str, body: Callable[[], Body], *, wanted: Callable[[], bool] = lambda: True
) -> Any:
    """The new object. Every try sends a `body` of its own under the one Idempotency-Key.

    A server that is not there at first is said so at once; one that goes away is waited for, for
    a minute from the first fault and while `wanted`. Raises ApiError, UnreachableError.
    """
    headers, failed_at = {HEADER: str(uuid.uuid4())}, 0.0
    while True:
        try:
            return api.send(path, body(), headers)
        except (ApiError, UnreachableError) as error:
            first, failed_at = not failed_at, failed_at or time.monotonic()
            if not _passes(error, first=first) or time.monotonic() > failed_at + _GIVE_UP_S:
                raise
            if not wanted():
                raise
        time.sleep(_PAUSE_S)


def _passes(error: Exception, *, first: bool) -> bool:
    match error:
        case ApiError():
            return error.status in _PASSING
        case NoServerError():
            return not first
    return not isinstance(error, NotOursError)
