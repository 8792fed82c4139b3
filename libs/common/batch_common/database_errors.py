"""What a database raises, sorted: passing faults become one error, our own mistakes stay theirs.

Drivers and SQLAlchemy tell of a server that restarts in a dozen ways, depending on whether the
connection was being made, pinged, used or rolled back at that moment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    NotSupportedError,
    PendingRollbackError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from batch_common.errors import DatabaseUnavailableError

# Errors of a statement, whatever state the server is in.
_OURS: Final = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
# Out of disk: people have to make room. SQLite knows ENOSPC only; a quota, a limit on the size of
# files, or no room for the index beside its log are errors of writing to it.
_FULL: Final = {
    "SQLITE_FULL",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_SHMSIZE",
    "53100",
}


@contextmanager
def database_errors(what: str) -> Iterator[None]:
    """`what` was being done. Raises DatabaseUnavailableError for what may pass."""
    try:
        yield
    except (
        OSError,
        PoolTimeoutError,
        InvalidatePoolError,
        PendingRollbackError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        raise _away(what, error) from error
    except DBAPIError as error:
        if not is_passing(error):
            raise
        raise _away(what, error) from error


def is_passing(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later, with nobody doing anything."""
    return error.connection_invalidated or not (isinstance(error, _OURS) or is_full(error))


def is_full(error: DBAPIError) -> bool:
    """Whether no space is left for the database."""
    orig = error.orig
    return bool(_FULL & {getattr(orig, "sqlite_errorname", ""), getattr(orig, "sqlstate", "")})


def _away(what: str, error: Exception) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"database: could not do '{what}': {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """What the driver said, in one line."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return said or type(error).__name__
