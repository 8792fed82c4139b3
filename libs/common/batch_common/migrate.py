"""Bringing a database to this release's schema."""

import asyncio
import time
from enum import Enum, auto
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from batch_common.database_errors import reason_of
from batch_common.db import Database
from batch_common.errors import DatabaseUnavailableError, SchemaTooNewError, StartError
from batch_common.logs import get_log
from batch_common.tasks import wait_any

log = get_log(__name__)

# Any constant will do, as long as nobody else takes it: "vllmb" in ASCII.
_ADVISORY_LOCK: Final = 0x766C6C6D62
# A server that answers so is there already, and will answer so again.
_REFUSALS: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


async def migrate_at_start(database: Database, stop: asyncio.Event, within_s: float = 30.0) -> None:
    """`migrate` for a service that starts beside its database: tries again for `within_s`.

    Raises what `migrate` raises, once the time is up or `stop` is set.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await migrate(database)
        except StartError as error:
            may_come = not database.is_sqlite and _is_away(error.__cause__)
            if not may_come or stop.is_set() or time.monotonic() > deadline:
                raise
            log.warning("database_not_there_yet", error=str(error))
            await wait_any(stop, timeout_s=1.0)


def _is_away(error: BaseException | None) -> bool:
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__
    return any(isinstance(one, DatabaseUnavailableError) for one in chain) and not any(
        isinstance(one, _REFUSALS) for one in chain
    )


async def migrate(database: Database) -> None:
    """Applies what is missing, one process at a time.

    Raises SchemaTooNewError, and StartError when the database cannot be reached or written.
    """
    try:
        async with database.write("migrate") as conn:
            if not database.is_sqlite:
                await conn.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            await conn.run_sync(_upgrade)
    except (DatabaseUnavailableError, SQLAlchemyError) as error:
        reason = reason_of(error.__cause__ or error)
        raise StartError(
            f"the database cannot be used ({reason}): check that it runs and takes connections, "
            "and database.url (or, for SQLite, that the data directory can be written)"
        ) from error


def schema_of(connection: Connection) -> str | None:
    """The revision that a database is at; None: no release of ours has used it."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade_to(connection: Connection, revision: str) -> None:
    """Brings a database up to `revision` or `head`, in the transaction at hand.

    Raises SchemaTooNewError.
    """
    settings = _settings(connection)
    if revision != "head":
        _check_known(ScriptDirectory.from_config(settings), revision)
    command.upgrade(settings, revision)


class Standing(Enum):
    """NONE: no tables yet. OLDER: the next `migrate` brings it here. NEWER: of another release."""

    NONE = auto()
    OLDER = auto()
    CURRENT = auto()
    NEWER = auto()


def standing_of(connection: Connection) -> Standing:
    """How the database's schema stands to this release's. Changes nothing."""
    script = ScriptDirectory.from_config(_settings(connection))
    current = schema_of(connection)
    if current is None:
        return Standing.NONE
    if current == script.get_current_head():
        return Standing.CURRENT
    return Standing.OLDER if _is_known(script, current) else Standing.NEWER


def _upgrade(connection: Connection) -> None:
    settings = _settings(connection)
    script = ScriptDirectory.from_config(settings)
    current = schema_of(connection)
    if current == script.get_current_head():
        return
    if current is not None:
        _check_known(script, current)
    command.upgrade(settings, "head")
    log.info("database_migrated", schema=script.get_current_head())


def _settings(connection: Connection) -> AlembicConfig:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.attributes["connection"] = connection
    return settings


def _is_known(script: ScriptDirectory, revision: str) -> bool:
    return revision in {known.revision for known in script.walk_revisions()}


def _check_known(script: ScriptDirectory, revision: str) -> None:
    if not _is_known(script, revision):
        raise SchemaTooNewError(
            f"the database is at schema {revision!r}, which this release does not know: a newer "
            "release has written it. Install that release, or use another data directory"
        )
