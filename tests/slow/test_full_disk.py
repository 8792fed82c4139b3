"""A disk that is really full: database, blobs, JetStream and logs all lie on it."""

import asyncio
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.crash_rig import Rig, ids, lines, rig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SIZE = "24m"
LINES = 200
# Long enough for every service to have tried, and to have said so.
FULL_S = 6.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; mounting one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    umount = ["umount", "-l", str(folder)]
    subprocess.run(umount, check=True)


def fill(folder: Path) -> Path:
    """To the last byte; the file that holds it."""
    ballast = folder / "ballast"
    for size in (1 << 16, 512):
        with ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


async def upload(system: Rig) -> int:
    """The status of one try."""
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", lines(3))}}
    return (await system.http.post("/v1/files", **form)).status_code


@pytest.mark.parametrize("when", ["validating", "in_progress"])
async def test_a_batch_waits_for_space_and_then_completes(small_disk: Path, when: str) -> None:
    """Nobody ends, uploads are refused in plain words, and nothing needs a restart."""
    async with rig(small_disk / "system") as system:
        system.run = uuid.uuid4().hex
        batch_id = await system.create(await system.upload(lines(LINES)))
        if when == "in_progress":
            await system.until_batch(
                batch_id, lambda b: b["request_counts"]["completed"] > 0, "first results"
            )
        ballast = fill(small_disk)
        refused = [await upload(system) for _ in range(3)]
        await asyncio.sleep(FULL_S)
        assert set(refused) <= {503, 507}
        assert (await system.batch(batch_id))["status"] != "failed"
        ballast.unlink()
        await system.ended(ids(LINES), "completed")
        await system.notified()
        await system.settled()
        assert {role: p.ended for role, p in system.system.processes.items() if p.ended} == {}
