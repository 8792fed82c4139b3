"""A real Label Studio of one's own, as a process."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import aiohttp

from support.label_studio_api import LEGACY_TOKEN, LabelStudioApi
from support.label_studio_environment import find_label_studio
from support.ports import free_port
from support.wait import until

_USER = "reviewer@example.com"


class LabelStudioServer(LabelStudioApi):
    """On loopback, on SQLite in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        super().__init__(f"http://127.0.0.1:{self._port}")

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    async def start(self, within_s: float = 300) -> None:
        """Returns once it answers; it makes its tables first."""
        program = find_label_studio()
        assert program is not None, "run python tests/support/label_studio_environment.py"
        command = [str(program), "start", "--no-browser", "--port", str(self._port)]
        command += ["--internal-host", "127.0.0.1", "--username", _USER, "--password", "reviewing"]
        command += ["--user-token", LEGACY_TOKEN, "--enable-legacy-api-token"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment(), start_new_session=True
            )
        try:
            await until(self._answers, within_s=within_s, what=f"Label Studio ({self._folder}/log)")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait, 20)
            self._process = None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LABEL_STUDIO_BASE_DATA_DIR": str(self._folder / "data"),
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LATEST_VERSION_CHECK": "false",
        }

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Label Studio has ended: {self.log[-2000:]}"
        try:
            async with aiohttp.ClientSession() as client, client.get(f"{self.url}/health") as said:
                return said.status == 200
        except aiohttp.ClientError:
            await asyncio.sleep(0.5)  # its start takes all of the processor
            return False
