"""The outermost layer: request ids, timing, keys and metrics for every answer, errors included."""

import time
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from batch_common.ids import new_id
from batch_common.logs import bind_ids, get_log
from batch_common.secret import ApiKeys
from batch_gateway import metrics
from batch_gateway.auth import TENANT_STATE, authenticate
from batch_gateway.errors import ApiError

log = get_log(__name__)

# Everything else needs a key: an odd spelling of a path must not be a way around it.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/schema", "/schema/openapi.json"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id("req_")
        answer = _Answer(send, request_id)
        with bind_ids(request_id=request_id):
            try:
                await self._serve(scope, receive, answer)
            finally:
                _record(scope, answer)

    async def _serve(self, scope: Any, receive: Receive, answer: "_Answer") -> None:
        try:
            if scope["path"] not in _OPEN:
                header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
                tenant = authenticate(header, self._keys)
                scope.setdefault("state", {})[TENANT_STATE] = tenant
        except ApiError as error:
            await answer.refuse(error)
            return
        await self._app(scope, receive, answer)


class _Answer:
    """Adds our headers to the start of an answer and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()
        self.status = 0
        self.seconds = 0.0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.seconds = time.perf_counter() - self._began
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self._request_id.encode()),
                (b"openai-processing-ms", b"%d" % (self.seconds * 1000)),
            ]
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        body = error.body()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self({"type": "http.response.start", "status": error.status, "headers": headers})
        await self({"type": "http.response.body", "body": body, "more_body": False})


def _record(scope: Any, answer: _Answer) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = scope.get("path_template") or "none"
    metrics.REQUESTS.labels(method, route, str(answer.status or 499)).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(answer.seconds)
    log.debug("request", method=method, route=route, status=answer.status, seconds=answer.seconds)
