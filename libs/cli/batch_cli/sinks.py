"""The work of `sinks list` and `sinks redrive`, on the database."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from batch_common.config import Config
from batch_common.config_file import data_dir, load_config
from batch_common.db import Database, open_database
from batch_common.errors import StartError
from batch_sinks.admin import SinkSummary, redrive, summarise, unknown_batches

T = TypeVar("T")

_COLUMNS = ("sink", "pending", "failing", "delivered", "failed", "skipped", "last_error")


def list_sinks(args: argparse.Namespace) -> int:
    """A table, or an object a line."""
    config = _config(args)
    found = _on_database(config, summarise)
    for line in _lines(found, as_json=args.json):
        print(line)
    if not found and not args.json:
        print(
            f"no deliveries yet in {_where(config)}: docs/RESULT_HANDLERS.md says how to get some",
            file=sys.stderr,
        )
    return 0


def redrive_sinks(args: argparse.Namespace) -> int:
    """Names each delivery; having none is fine. Raises StartError for what there is not."""
    config = _config(args)
    if args.sink is not None:
        _check_sink(args.sink, config)
    if args.batches:
        _check_batches(args.batches, config)
    moved = _on_database(config, lambda db: redrive(db, sink=args.sink, batch_ids=args.batches))
    for it in moved:
        print(f"{it.batch_id} {it.sink} {it.endpoint}".rstrip())
    print(_moved(len(moved), sum(it.given_up for it in moved)), file=sys.stderr)
    return 0


def _moved(count: int, given_up: int) -> str:
    if not count:
        return "nothing waits, and nothing was given up"
    return (
        f"tried again now: {given_up} that were given up, "
        f"{count - given_up} that waited for their next try"
    )


def _check_sink(name: str, config: Config) -> None:
    """A typing error is not to look like nothing to do."""
    with_rows = [summary.sink for summary in _on_database(config, summarise)]
    known = sorted({*config.sinks.enabled, *with_rows})
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise StartError(f"there is no sink {name!r} in {_where(config)}: {there}")


def _check_batches(batch_ids: list[str], config: Config) -> None:
    unknown = _on_database(config, lambda db: unknown_batches(db, batch_ids))
    if unknown:
        raise StartError(
            f"{_where(config)} has no deliveries of {', '.join(unknown)}: see `vllm-batch list` "
            "for the batches there are, and whether a sink was enabled when they ended"
        )


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


def _config(args: argparse.Namespace) -> Config:
    overrides = {"data_dir": args.data_dir} if args.data_dir else {}
    return load_config(Path(args.config) if args.config else None, overrides=overrides)


def _where(config: Config) -> str:
    """Without the URL's password."""
    if config.database.url:
        return "the database of database.url"
    return f"the data folder {data_dir(config)}"


def _on_database(config: Config, work: Callable[[Database], Awaitable[T]]) -> T:
    """Raises StartError where there is no database, or it has no deliveries."""
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
