"""The data folder of one installation, and who may use it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from batch_common.errors import StartError

# A service that lost its launcher drains first.
_LEAVING_S: Final = 45.0
_POLL_S: Final = 0.2


class DataFolder(msgspec.Struct, frozen=True):
    """Where everything of an installation lies."""

    root: Path

    @property
    def run(self) -> Path:
        """What the processes of this run were given; only the owner may read it."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nats_url(self) -> Path:
        return self.run / "nats.url"

    @property
    def metrics_targets(self) -> Path:
        return self.run / "prometheus.json"

    @property
    def config(self) -> Path:
        return self.run / "config.yml"

    def make(self) -> None:
        """Raises StartError when it cannot be written to."""
        try:
            for folder in (self.root, self.run, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"cannot make the folder {error.filename}: {error.strerror}; "
                "give another with --data-dir"
            ) from error


@contextlib.contextmanager
def claimed(folder: DataFolder, waiting: Callable[[], None]) -> Iterator[int]:
    """The folder is ours alone. Yields a descriptor that every service inherits.

    Two locks: the launcher's own, which says that somebody else runs, and one that its services
    hold as well. A killed launcher's services still drain while the next one starts; it waits for
    them, after calling `waiting`. Raises StartError.
    """
    folder.make()
    launcher = _open(folder.run / "launcher.lock")
    services = _open(folder.run / "services.lock")
    try:
        if not _try_lock(launcher):
            raise StartError(
                f"another vllm-batch uses the data folder {folder.root}: stop it, "
                "or give another folder with --data-dir"
            )
        _wait_for(services, folder, waiting)
        yield services
    finally:
        os.close(services)
        os.close(launcher)


def write_private(path: Path, text: str) -> None:
    """Replaces the file; its owner alone can read it."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)


def _wait_for(services: int, folder: DataFolder, waiting: Callable[[], None]) -> None:
    deadline = time.monotonic() + _LEAVING_S
    told = False
    while not _try_lock(services):
        if not told:
            waiting()
            told = True
        if time.monotonic() > deadline:
            raise StartError(
                f"services of an earlier run still use the data folder {folder.root}: "
                "end them (their command lines say vllm-batch), then try again"
            )
        time.sleep(_POLL_S)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
