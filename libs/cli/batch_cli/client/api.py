"""HTTP to one server, each exchange on a connection of its own: threads need no lock."""

import argparse
import contextlib
import http.client
import os
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from batch_cli.client.errors import ApiError, NoServerError, NotOursError, UnreachableError
from batch_common.errors import ConfigError
from batch_common.secret import Secret

NOT_OURS: Final = (
    "the server's answer is not what the API promises: "
    "check that --url names an OpenAI-compatible API (…/v1)"
)
DEFAULT_URL: Final = "http://127.0.0.1:8000/v1"
_ANSWER_S: Final = 120.0
_MAX_ERROR_BYTES: Final = 64 << 10
_PIECE_BYTES: Final = 1 << 20


class Body(msgspec.Struct, frozen=True):
    """A request body that is sent piece by piece. size: bytes of all pieces."""

    kind: str
    size: int
    pieces: Iterable[bytes]


def json_body(content: Any = None) -> Body:
    """None: an empty one."""
    encoded = b"" if content is None else msgspec.json.encode(content)
    return Body("application/json", len(encoded), (encoded,))


class Api:
    """A server's base URL and the key for it."""

    def __init__(self, url: str, key: Secret) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{url!r} is no URL of a server: give one as http://host:8000/v1")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, _port(parts, url)
        self._path = parts.path.rstrip("/") or "/v1"
        self._headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._path}"

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON. Raises ApiError and UnreachableError, as all methods do."""
        with self.stream("GET", path + _query(query)) as answer:
            return _decoded(answer.read())

    def post(self, path: str, content: Any = None) -> Any:
        """Send JSON (None: an empty body); the answer's JSON."""
        return self.send(path, json_body(content))

    def send(self, path: str, body: Body, headers: Mapping[str, str] | None = None) -> Any:
        """Send any body; the answer's JSON."""
        with self.stream("POST", path, body=body, headers=headers) as answer:
            return _decoded(answer.read())

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> Iterator["Answer"]:
        """The answer, for the block to read; `timeout_s` is for each wait on the wire."""
        connection = self._connection(timeout_s)
        try:
            with _faults(self.url):
                answer = self._exchange(connection, method, path, body, headers or {})
                if answer.status >= 400:
                    raise ApiError(answer.status, _message(answer, self.url))
            yield Answer(answer, self.url)
        finally:
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Body | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        given = {**self._headers, "Accept-Encoding": "identity", **headers}
        if body is not None:
            given |= {"Content-Type": body.kind, "Content-Length": str(body.size)}
        # A server may refuse before it has read everything; what it said is still to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                method, self._path + path, body=body.pieces if body else None, headers=given
            )
        return connection.getresponse()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_s)


class Answer:
    """What a server sends. Only faults of the wire become UnreachableError: what the reader does
    with the pieces may fail in its own ways.
    """

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def read(self) -> bytes:
        """All of it."""
        with _faults(self._url):
            return self._response.read()

    def pieces(self) -> Iterator[bytes]:
        """Piece by piece; an answer that is cut off raises UnreachableError."""
        while piece := self._piece():
            yield piece
        if self._response.length:
            raise UnreachableError(
                f"the connection to {self._url} broke in the middle of an answer: try again"
            )

    def lines(self) -> Iterator[bytes]:
        """Line by line, as they come."""
        while line := self._line():
            yield line

    def _piece(self) -> bytes:
        with _faults(self._url):
            return self._response.read(_PIECE_BYTES)

    def _line(self) -> bytes:
        with _faults(self._url):
            return self._response.readline()


@contextmanager
def _faults(url: str) -> Iterator[None]:
    try:
        yield
    except ConnectionRefusedError as error:
        raise NoServerError(
            f"no server answers at {url}: start one with `vllm-batch up`, "
            "or name another with --url or OPENAI_BASE_URL"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"the connection to {url} failed: {str(error) or type(error).__name__}; "
            "check --url, and that the server runs"
        ) from error


def connected(args: argparse.Namespace) -> Api:
    """The server that flags or environment name."""
    url = args.url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    key = args.api_key or os.environ.get("OPENAI_API_KEY") or ""
    return Api(url, Secret(key))


def quoted(identifier: str) -> str:
    """An id as one segment of a path."""
    return urllib.parse.quote(identifier, safe="")


def _port(parts: urllib.parse.SplitResult, url: str) -> int | None:
    try:
        return parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL of a server: {error}") from error


def _query(query: Mapping[str, str] | None) -> str:
    return f"?{urllib.parse.urlencode(query)}" if query else ""


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise NotOursError(NOT_OURS) from error


class _Identified(msgspec.Struct):
    id: str


def id_of(content: Any) -> str:
    """The `id` of any of the API's objects. Raises UnreachableError for anything else."""
    try:
        return msgspec.convert(content, _Identified).id
    except msgspec.ValidationError as error:
        raise NotOursError(NOT_OURS) from error


class _Details(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Details


def _message(answer: http.client.HTTPResponse, url: str) -> str:
    try:
        said = msgspec.json.decode(answer.read(_MAX_ERROR_BYTES), type=_Refusal).error.message
    except msgspec.DecodeError:
        said = ""
    return said or f"{url} answered with HTTP status {answer.status} {answer.reason}"
