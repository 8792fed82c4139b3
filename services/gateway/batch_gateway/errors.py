"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`, all four always.

Every exception that can leave a route becomes an `ApiError` here.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from multipart import MultipartError
from sqlalchemy.exc import DBAPIError

from batch_common.database_errors import is_full, is_passing
from batch_common.errors import BlobNotFoundError, BlobStoreFullError, TransientError
from batch_common.logs import get_log

log = get_log(__name__)

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
# OpenAI's clients try 409 and 5xx again unless this header says not to.
_SHOULD_RETRY: Final = "x-should-retry"


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """What every answer of 400 and above carries."""

    error: ErrorDetail


class ApiError(Exception):
    """An answer to the client. `retry`: None leaves it to the client's own rules."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(
            message, SERVER_ERROR if status >= 500 else INVALID_REQUEST, param, code
        )
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers[_SHOULD_RETRY] = "true" if retry else "false"

    def body(self) -> bytes:
        return msgspec.json.encode(ErrorBody(self.detail))


class ClientGoneError(ApiError):
    """The client left in the middle of its request; nobody reads this answer."""

    def __init__(self) -> None:
        super().__init__(499, "The client closed the connection before its request was complete.")


def missing(name: str) -> ApiError:
    return ApiError(
        400,
        f"Missing required parameter: '{name}'.",
        param=name,
        code="missing_required_parameter",
    )


def no_such(kind: str, identifier: str) -> ApiError:
    """404 for files and uploads: unknown and another tenant's look the same."""
    return ApiError(404, f"No such {kind} object: {identifier}", param="id")


def too_large(says: str = "File is too large.") -> ApiError:
    """400, as OpenAI answers, never 413."""
    return ApiError(400, says)


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The exception handler of every route, and of paths that have none."""
    found = to_api_error(error, request.method, request.url.path)
    if found.status >= 500:
        unknown = found.status == 500
        log.error("request_failed", error=str(error), exc_info=error if unknown else None)
    return Response(
        content=found.body(),
        status_code=found.status,
        headers=found.headers,
        media_type="application/json",
    )


def to_api_error(error: Exception, method: str, path: str) -> ApiError:
    """`method` and `path` are the request's, for errors that name it."""
    match error:
        case ApiError():
            return error
        case InternalServerException(detail="client disconnected prematurely"):
            return ClientGoneError()  # Litestar's words where a body that it reads ends too early
        case HTTPException():
            return _of_http(error, method, path)
        case MultipartError():
            return ApiError(400, f"The multipart/form-data body cannot be read: {error}.")
        case DBAPIError():
            return _of_database(error)
    return _of_store(error)


def _of_store(error: Exception) -> ApiError:
    match error:
        case BlobStoreFullError():
            return ApiError(507, f"The server has no space for this: {error}.", retry=False)
        case BlobNotFoundError():
            return ApiError(
                500,
                "The stored bytes are missing from the server's blob store; "
                "ask its operator to restore them from a backup.",
                retry=False,
            )
        case TransientError():
            return _unavailable()
    return _internal()


def _internal() -> ApiError:
    return ApiError(
        500,
        "The server had an error while processing the request; "
        "its log says more under the x-request-id of this answer.",
    )


def _unavailable() -> ApiError:
    return ApiError(
        503,
        "The server cannot reach its database, NATS or blob store at the moment; try again. "
        "/readyz says which.",
        headers={"retry-after": "1"},
    )


def _of_database(error: DBAPIError) -> ApiError:
    if is_full(error):
        return ApiError(
            507,
            "The server has no space left for its database: free some and try again.",
            retry=False,
        )
    return _unavailable() if is_passing(error) else _internal()


def _of_http(error: HTTPException, method: str, path: str) -> ApiError:
    headers = error.headers or {}
    match error:
        case NotFoundException():
            return ApiError(404, f"Invalid URL ({method} {path})")
        case MethodNotAllowedException():
            return ApiError(
                405,
                f"Not allowed to {method} on {path}; allowed: {headers.get('allow', 'nothing')}.",
                code="method_not_supported",
                headers=headers,
            )
        case ValidationException(extra=[{"message": str(said), "key": str(key)}, *_]):
            return ApiError(400, f"Invalid value for '{key}': {said}", param=key)
    if error.status_code == 413:
        return too_large("The request body is too large.")
    if error.status_code >= 500:
        return _internal()
    return ApiError(error.status_code, error.detail, headers=headers)
