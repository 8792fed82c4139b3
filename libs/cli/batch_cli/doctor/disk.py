"""The data folder: whether it can be written, how much room it has, how fast it is durable."""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place

CHECK: Final = "disk"
GIB: Final = 1 << 30
_LITTLE: Final = 10 * GIB
_TOO_LITTLE: Final = 1 * GIB
# Each commit and each segment waits for one; a disk takes 0.1 to 10 ms.
_SLOW_S: Final = 0.05
_SYNCS: Final = 15
_SYNC_LIMIT_S: Final = 3.0
# SQLite's write-ahead log needs memory that processes share, which these cannot give.
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs"})


def look_at_disk(place: Place) -> list[Finding]:
    """Writes some kilobytes there and removes them. Blocks for some seconds at most."""
    root = place.folder.root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=there) as folder:
            took_s = sync_s(Path(folder))
    except OSError as error:
        fix = "give a folder this user may write to: --data-dir, or data_dir"
        return [fail(CHECK, f"{there} cannot be written: {error.strerror}", fix)]
    return [_room(root, there), _speed(took_s), *_kind(place, there)]


def _room(root: Path, there: Path) -> Finding:
    free = shutil.disk_usage(there).free
    says = f"{root}: {free / GIB:.1f} GiB free"
    fix = "make room, or give another folder: --data-dir, or data_dir"
    if free < _TOO_LITTLE:
        return fail(CHECK, says, fix)
    if free < _LITTLE:
        return warn(CHECK, f"{says}; inputs and results are kept there for 30 days", fix)
    return ok(CHECK, says)


def _speed(took_s: float) -> Finding:
    says = f"a write is durable there after {took_s * 1000:.1f} ms"
    if took_s <= _SLOW_S:
        return ok(CHECK, says)
    return warn(CHECK, f"{says}: every commit waits for it", "use a local SSD")


def sync_s(folder: Path) -> float:
    """The median time of a small write with fsync."""
    times: list[float] = []
    began = time.monotonic()
    with (folder / "sync").open("wb", buffering=0) as file:
        while len(times) < _SYNCS and time.monotonic() - began < _SYNC_LIMIT_S:
            before = time.monotonic()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.monotonic() - before)
    return statistics.median(times)


def _kind(place: Place, there: Path) -> list[Finding]:
    kind = file_system(there, Path("/proc/self/mounts"))
    if kind not in _NETWORK or place.config.database.url:
        return []
    return [
        fail(
            CHECK,
            f"{there} is on a network file system ({kind}), where SQLite loses data",
            "give a local folder: --data-dir, or use Postgres: database.url",
        )
    ]


def file_system(path: Path, mounts: Path) -> str:
    """Its type, as mount names it; empty where nobody says."""
    best, kind = "", ""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, where, what, *_ = line.split(" ")
        where = where.replace("\\040", " ")
        if path.is_relative_to(where) and len(where) >= len(best):
            best, kind = where, what
    return kind
