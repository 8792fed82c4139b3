"""The project's exceptions.

BatchServerError
├── TransientError             trying again later may succeed
│   ├── BusUnavailableError    NATS cannot be reached or has no leader
│   ├── DatabaseUnavailableError  the database cannot be reached, restarts, or is overloaded
│   └── BlobUnavailableError   the blob store answered with a passing fault
└── PermanentError             trying again changes nothing
    ├── ConfigError            the configuration is wrong (exit code 3)
    ├── StartError             the service cannot start (exit code 1)
    │   ├── SchemaTooNewError  a newer release has written this database
    │   └── StreamConflictError  a stream of that name exists with other settings
    ├── TaskSchemaError        a task schema is not as it must be
    ├── BlobNotFoundError      no object has that key
    └── BlobStoreFullError     no space is left
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_common.task_schema import Problem


class BatchServerError(Exception):
    """Base of every error this project raises. `str(error)` says what to do about it."""


class TransientError(BatchServerError):
    """Trying again later may succeed."""


class PermanentError(BatchServerError):
    """Trying again changes nothing until somebody acts."""


class BusUnavailableError(TransientError):
    """NATS cannot be reached, or the stream has no leader at the moment."""


class DatabaseUnavailableError(TransientError):
    """The database did not answer, broke the connection, or refused work for the moment.

    Out of a commit: it may have been made all the same.
    """


class BlobUnavailableError(TransientError):
    """The blob store did not answer, or answered with a passing fault."""


class ConfigError(PermanentError):
    """The configuration is wrong; processes leave with exit code 3."""


class StartError(PermanentError):
    """The service cannot start; processes leave with exit code 1."""


class SchemaTooNewError(StartError):
    """A newer release has already migrated this database."""


class StreamConflictError(StartError):
    """A stream of our name exists with settings that ours cannot be merged with."""


class TaskSchemaError(PermanentError):
    """A task schema is not as it must be; `problems` says where, each with a JSON pointer."""

    def __init__(self, where: str, problems: "Sequence[Problem]") -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{where}: {problems[0]}{more}")
        self.problems = tuple(problems)


class BlobNotFoundError(PermanentError):
    """No object has that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object in the blob store has the key {key!r}")
        self.key = key


class BlobStoreFullError(PermanentError):
    """No space (or quota) is left in the blob store."""
