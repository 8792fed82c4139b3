"""A real Label Studio of one's own, as a process."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp

from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi
from support.label_studio_environment import environment, find_label_studio
from support.ports import free_port
from support.wait import until

_OPTIONS = (
    "--no-browser",
    "--internal-host=127.0.0.1",
    "--enable-legacy-api-token",
    "--username=reviewer@example.com",
    "--password=reviewing",
    f"--user-token={LEGACY_TOKEN}",
)


class LabelStudioServer(LabelStudioApi):
    """On loopback, on SQLite in `folder`. It ends with the process that has started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        super().__init__(f"http://127.0.0.1:{self._port}")

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    async def start(self, within_s: float = 240) -> None:
        """Returns once it answers."""
        found = find_label_studio()
        assert found is not None, "run python tests/support/label_studio_environment.py"
        data = self._folder / "data"
        shutil.copytree(found.tables, data)
        guard = (sys.executable, "-m", "batch_common.guard", str(self._folder / "lock"), "1", "--")
        command = (str(found.program), "start", "--port", str(self._port), *_OPTIONS)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                (*guard, *command),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(data),
            )
        try:
            await until(self._answers, within_s=within_s, what=f"Label Studio ({self._folder}/log)")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await asyncio.to_thread(self._process.wait, 20)
            self._process = None

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Label Studio has ended: {self.log[-2000:]}"
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self.url}/health") as said:
                return said.status == 200
        except aiohttp.ClientError:
            await asyncio.sleep(0.5)  # its start takes all of the processor
            return False
