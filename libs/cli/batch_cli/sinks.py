"""The work of `sinks list` and `sinks redrive`, on the database."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from batch_common.config_file import data_dir, load_config
from batch_common.db import Database, open_database
from batch_common.errors import StartError
from batch_sinks.admin import SinkSummary, redrive, summarise

T = TypeVar("T")

_COLUMNS = ("sink", "pending", "failing", "delivered", "failed", "skipped", "last_error")


def list_sinks(args: argparse.Namespace) -> int:
    """A table, or an object a line."""
    found = _on_database(args, summarise)
    for line in _lines(found, as_json=args.json):
        print(line)
    if not found and not args.json:
        print("no deliveries yet: docs/RESULT_HANDLERS.md says how to get some", file=sys.stderr)
    return 0


def redrive_sinks(args: argparse.Namespace) -> int:
    """Names each delivery; having none is fine."""
    moved = _on_database(args, lambda db: redrive(db, sink=args.sink, batch_ids=args.batches))
    for batch_id, sink in moved:
        print(f"{batch_id} {sink}")
    print(f"{len(moved)} to be tried once more", file=sys.stderr)
    return 0


def _lines(found: list[SinkSummary], *, as_json: bool) -> list[str]:
    if as_json:
        return [msgspec.json.encode(summary).decode() for summary in found]
    rows = [tuple(str(getattr(s, name) or 0) for name in _COLUMNS[:-1]) for s in found]
    table = [tuple(name.upper() for name in _COLUMNS[:-1]), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    last = ["LAST ERROR", *(summary.last_error or "-" for summary in found)]
    if not found:
        return []
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), error])
        for row, error in zip(table, last, strict=True)
    ]


def _on_database(args: argparse.Namespace, work: Callable[[Database], Awaitable[T]]) -> T:
    """Raises StartError where there is no database, or it has no deliveries."""
    overrides = {"data_dir": args.data_dir} if args.data_dir else {}
    config = load_config(Path(args.config) if args.config else None, overrides=overrides)
    if not config.database.url and not (data_dir(config) / "batches.db").exists():
        raise StartError(
            f"there is no database in {data_dir(config)}: give --data-dir or --config as the "
            "services have it"
        )
    return asyncio.run(_work(open_database(config.database, data_dir(config)), work))


async def _work(database: Database, work: Callable[[Database], Awaitable[T]]) -> T:
    try:
        return await work(database)
    except (SQLAlchemyError, OSError) as error:
        raise StartError(
            f"the database does not answer as it should ({type(error).__name__}): check "
            "database.url, and that the services have run with it once"
        ) from error
    finally:
        await database.close()
