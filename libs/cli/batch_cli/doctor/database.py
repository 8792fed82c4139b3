"""The database: reachable, at this release's schema, with a clock like ours."""

from typing import Final

from sqlalchemy import select

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_common import clock
from batch_common.database_clock import unix_now
from batch_common.database_errors import reason_of
from batch_common.db import DATABASE_ERRORS, Database, open_database
from batch_common.migrate import Standing, standing_of

CHECK: Final = "database"
_CLOCK_S: Final = 2.0


async def look_at_database(place: Place) -> list[Finding]:
    """Changes nothing there. Raises ConfigError for a URL that is none."""
    settings = place.config.database
    if not settings.url and not (place.folder.root / "batches.db").exists():
        return [ok(CHECK, "SQLite in the data folder, made at the first start")]
    database = open_database(settings, place.folder.root)
    try:
        return await _look(database)
    except DATABASE_ERRORS as error:
        reason = reason_of(error.__cause__ or error)
        fix = "check that it runs and takes connections, and database.url"
        return [fail(CHECK, f"it does not answer: {reason}", fix)]
    finally:
        await database.close()


async def _look(database: Database) -> list[Finding]:
    async with database.read() as conn:
        schema = await conn.run_sync(standing_of)
        asked = clock.wall()
        said = float((await conn.execute(select(unix_now(database)))).scalar_one())
        off_s = said - (asked + clock.wall()) / 2
    kind = "SQLite" if database.is_sqlite else "Postgres"
    found = [_schema(schema, kind)]
    return found if database.is_sqlite else [*found, _clock(off_s)]


def _schema(schema: Standing, kind: str) -> Finding:
    match schema:
        case Standing.CURRENT:
            return ok(CHECK, f"{kind} answers, at this release's schema")
        case Standing.NONE:
            return ok(CHECK, f"{kind} answers; its tables are made at the first start")
        case Standing.OLDER:
            fix = "the next start of a service migrates it; back it up before"
            return warn(CHECK, f"{kind} is at an older release's schema", fix)
    fix = "install that release, or use another database"
    return fail(CHECK, f"{kind} is at the schema of a newer release", fix)


def _clock(off_s: float) -> Finding:
    if abs(off_s) <= _CLOCK_S:
        return ok("clock", "this machine's clock agrees with the database's")
    way = "behind" if off_s > 0 else "ahead of"
    return warn(
        "clock",
        f"this machine's clock is {abs(off_s):.0f} s {way} the database's",
        "services go by the database's; set this one right (NTP) for logs and certificates",
    )
