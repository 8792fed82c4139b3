"""A batch's states as they come: the server's events, or polling where it has none."""

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from batch_cli.client.api import Api, quoted
from batch_cli.client.batch import read_batch
from batch_cli.client.errors import ApiError, UnreachableError

_POLL_S: Final = 2.0
_SILENCE_S: Final = 30.0
# A server that restarts is back by then.
_GIVE_UP_S: Final = 60.0
_RETRY_S: Final = 1.0
_NO_SUCH_ROUTE: Final = frozenset({404, 405, 501})


def follow(api: Api, batch_id: str) -> Iterator[Any]:
    """Batch objects as decoded JSON, the last one final; one comes again while nothing is new.

    Broken connections are taken up again for a minute. Raises ApiError for an unknown batch.
    """
    states = _Follower(api, f"/batches/{quoted(batch_id)}")
    known: Any = None
    while known is None or not read_batch(known).is_final:
        content = states.next()
        known = known if content is None else content
        if known is not None:
            yield known


class _Follower:
    """Where following stands between two states."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path
        self._events: Iterator[Any] | None = None
        self._has_events = True
        self._last_good = time.monotonic()
        self._first = True

    def next(self) -> Any | None:
        """The next state; None when there is nothing new, after a pause."""
        try:
            content = self._poll() if self._first or not self._has_events else self._event()
        except UnreachableError:
            # The first look tells at once; later ones may meet a server that restarts.
            if self._first or time.monotonic() - self._last_good > _GIVE_UP_S:
                raise
            self._events = None
            time.sleep(_RETRY_S)
            return None
        self._first = False
        self._last_good = time.monotonic()
        return content

    def _poll(self) -> Any:
        if not self._first:
            time.sleep(_POLL_S)
        return self._api.get(self._path)

    def _event(self) -> Any | None:
        if self._events is None:
            self._events = self._stream()
        try:
            return next(self._events)
        except StopIteration:  # the server ended the stream: it restarts, or the batch is final
            self._events = None
            time.sleep(_RETRY_S)
            return self._api.get(self._path)
        except ApiError as error:
            self._events = None
            self._has_events = error.status not in _NO_SUCH_ROUTE
            if self._has_events and error.status < 500:
                raise
            return None

    def _stream(self) -> Iterator[Any]:
        accept = {"Accept": "text/event-stream"}
        route = f"{self._path}/events"
        with self._api.stream("GET", route, headers=accept, timeout_s=_SILENCE_S) as answer:
            for data in event_data(answer.lines()):
                yield None if data is None else msgspec.json.decode(data)


def event_data(lines: Iterator[bytes]) -> Iterator[bytes | None]:
    """The `data` of each server-sent event; None for a comment: the server lives, without news.

    Other fields are passed over.
    """
    data: list[bytes] = []
    for raw in lines:
        line = raw.rstrip(b"\r\n")
        if not line and data:
            yield b"\n".join(data)
            data = []
        elif line.startswith(b":"):
            yield None
        elif line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
