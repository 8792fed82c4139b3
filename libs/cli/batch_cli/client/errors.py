"""What can go wrong between us and a server."""

from batch_common.errors import PermanentError, TransientError


class UnreachableError(TransientError):
    """No server answers there, or the connection broke."""


class NoServerError(UnreachableError):
    """Nothing listens there."""


class NotOursError(UnreachableError):
    """What answers there does not speak the API."""


class ApiError(PermanentError):
    """The server refused. status: of HTTP; `str(error)` is the server's own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BatchEndedError(PermanentError):
    """The batch ended otherwise than completed."""
