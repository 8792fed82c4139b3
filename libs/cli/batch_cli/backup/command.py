"""The work of `vllm-batch backup create|list|verify|restore`."""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from batch_cli.backup import create as creating
from batch_cli.backup import restore as restoring
from batch_cli.backup.formats import Manifest
from batch_cli.backup.place import Place, open_place
from batch_cli.backup.verify import problems_of
from batch_cli.standalone.folder import DataFolder, claimed
from batch_cli.standalone.report import Report
from batch_common.blobs import open_blobs
from batch_common.config import Config, Log
from batch_common.config_file import data_dir, load_config
from batch_common.database_errors import reason_of
from batch_common.db import Database, open_database
from batch_common.errors import StartError
from batch_common.logs import set_up_logs

T = TypeVar("T")


def create(args: argparse.Namespace) -> int:
    """Prints the backup's id. Raises ConfigError, StartError and passing faults of the stores."""
    config = _config(args)
    if not config.database.url and not (data_dir(config) / "batches.db").exists():
        raise StartError(
            f"there is no database in {data_dir(config)}: give --data-dir or --config as the "
            "services have it"
        )
    blobs = open_blobs(config.blobs, data_dir(config))
    place = _place(args, make=True)
    report = Report()

    async def work() -> Manifest:
        async with _opened(config) as database:
            return await creating.create(database, blobs, place, report)

    made = _run(work())
    report.say(_summary(made))
    print(made.id)
    return 0


def list_backups(args: argparse.Namespace) -> int:
    """One a line, oldest first. Raises StartError for what is no place of backups."""
    place = _place(args)

    async def work() -> list[Manifest]:
        found = await place.manifests()
        if not found and not await place.is_used():
            raise StartError(f"{place.name} is no place of backups: check the path or URL")
        return found

    found = _run(work())
    for manifest in found:
        print(f"{manifest.id}  {_summary(manifest)}")
    if not found:
        print(f"no whole backup in {place.name}", file=sys.stderr)
    return 0


def verify(args: argparse.Namespace) -> int:
    """A line for each problem; exit code 1 when there is one."""
    place = _place(args)

    async def work() -> int:
        manifest = await place.manifest(args.id)
        number = 0
        async for problem in problems_of(place, manifest, sizes=args.sizes):
            print(problem)
            number += 1
        print(f"{manifest.id}: {number} problems", file=sys.stderr)
        return number

    return 1 if _run(work()) else 0


def restore(args: argparse.Namespace) -> int:
    """Raises ConfigError and StartError; then nothing is there that services would find."""
    config = _config(args)
    place = _place(args)
    report = Report()

    # Before any folder is made: the place may be mistyped.
    restored = _run(place.manifest(args.id))

    async def work() -> None:
        blobs = open_blobs(config.blobs, data_dir(config))
        async with _opened(config) as database:
            await restoring.restore(database, blobs, place, restored, report)

    with _own_folder(config):
        _run(work())
    report.say(f"restored {restored.id}: {_summary(restored)}")
    return 0


def _summary(manifest: Manifest) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.rows_at))
    missing = f", {manifest.missing} objects missing" if manifest.missing else ""
    return (
        f"{when}, {manifest.rows('batches')} batches, {manifest.rows('files')} files, "
        f"{manifest.objects.lines} objects of {manifest.object_bytes} bytes{missing}"
    )


def _config(args: argparse.Namespace) -> Config:
    overrides = {"data_dir": args.data_dir} if args.data_dir else {}
    return load_config(Path(args.config) if args.config else None, overrides=overrides)


def _place(args: argparse.Namespace, *, make: bool = False) -> Place:
    """Rows hold the secrets that sign webhooks, and objects what users sent: owner's eyes only."""
    os.umask(0o077)
    set_up_logs(Log(level="warning"), "backup")
    return open_place(args.place, dict(args.options), make=make)


@contextlib.contextmanager
def _own_folder(config: Config) -> Iterator[None]:
    """Nothing of `vllm-batch up` runs there, as far as the data directory is what is restored."""
    if config.database.url:
        yield
        return
    report = Report()
    with claimed(
        DataFolder(data_dir(config)),
        lambda: report.say("waiting for an earlier run's services to leave"),
    ):
        yield


@contextlib.asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Database]:
    database = open_database(config.database, data_dir(config))
    try:
        yield database
    finally:
        await database.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except SQLAlchemyError as error:
        raise StartError(
            f"the database does not answer as it should ({reason_of(error)}): check database.url, "
            "and that its user may read (to restore: make) all tables"
        ) from error
