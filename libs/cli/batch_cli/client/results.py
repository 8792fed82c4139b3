"""The work of `results`."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from batch_cli.client.api import Api, connected, quoted
from batch_cli.client.batch import Batch, read_batch
from batch_cli.client.errors import ApiError
from batch_common.errors import PermanentError

_NO_SUCH_ROUTE: Final = frozenset({404, 405, 501})


class OutputFileError(PermanentError):
    """The results cannot be written there."""


def results(args: argparse.Namespace) -> int:
    """What there is, to a file or standard output."""
    api = connected(args)
    batch = read_batch(api.get(f"/batches/{quoted(args.id)}"))
    if args.output:
        with whole_file(Path(args.output)) as file:
            _copy(api, batch, file)
    else:
        _copy(api, batch, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    if not batch.is_final:
        print(f"{batch.id} is {batch.status}: these are the results so far", file=sys.stderr)
    return 0


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path`, durably, only when the block has succeeded."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{time.time_ns():x}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise OutputFileError(f"cannot write {path}: {error.strerror}; check the path") from error
    finally:
        beside.unlink(missing_ok=True)


def copy_file(api: Api, file_id: str, target: BinaryIO) -> None:
    """A file's content, streamed."""
    with api.stream("GET", f"/files/{quoted(file_id)}/content") as answer:
        target.writelines(answer.pieces())


def _copy(api: Api, batch: Batch, target: BinaryIO) -> None:
    if batch.is_final:
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                copy_file(api, file_id, target)
        return
    try:
        with api.stream("GET", f"/batches/{quoted(batch.id)}/results?offset=0") as answer:
            target.writelines(answer.pieces())
    except ApiError as error:
        if error.status in _NO_SUCH_ROUTE:
            raise ApiError(
                error.status, "this server gives results only when the batch has ended"
            ) from error
        raise
