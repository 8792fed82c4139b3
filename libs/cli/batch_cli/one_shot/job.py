"""Which piece of work a `run` is: typed again, it is found again."""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from batch_cli.client.results import OutputFileError
from batch_cli.client.upload import InputFileError

_PIECE_BYTES: Final = 1 << 20


class Job(msgspec.Struct, frozen=True):
    """id: of input content and output path; source and target: absolute."""

    id: str
    source: Path
    target: Path

    def folder(self, data_dir: Path) -> Path:
        """The data folder of this work alone."""
        return data_dir / "runs" / self.id


def find_job(source: Path, target: Path) -> Job:
    """Reads the input once. Raises InputFileError and OutputFileError."""
    source, target = source.expanduser().absolute(), target.expanduser().absolute()
    target = target.parent.resolve() / target.name
    _check_target(source, target)
    digest = hashlib.sha256(os.fsencode(target) + b"\0")
    try:
        with source.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise InputFileError(f"cannot read {source}: {error.strerror}") from error
    return Job(digest.hexdigest()[:24], source, target)


def _check_target(source: Path, target: Path) -> None:
    if target.is_dir():
        raise OutputFileError(f"the output {target} is a folder: name a file")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputFileError(
            f"the folder {target.parent} does not exist or cannot be written to: "
            "make it, or name another output"
        )
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputFileError(f"{target} is the input: name another output")
