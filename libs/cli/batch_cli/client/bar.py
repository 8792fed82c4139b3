"""Progress bars for a terminal."""

import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from batch_cli.client.batch import read_batch
from batch_cli.client.display import measured
from batch_cli.client.meter import Meter, pace


class BarDisplay:
    """One batch: bar, done, failed, requests/s, tokens/s, time left."""

    def __init__(self, stream: TextIO) -> None:
        self._meter = Meter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[facts]}"),
            console=Console(file=stream),
        )
        self._task = self._progress.add_task("waiting", total=None, facts="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, content: Any) -> None:
        """Draws what is known now."""
        batch = read_batch(content)
        rate = measured(self._meter, batch, time.monotonic())
        counts = batch.counts
        facts = "  ".join([f"{counts.failed} failed", *pace(rate)])
        self._progress.update(
            self._task,
            description=batch.status,
            total=counts.total or None,
            completed=counts.done,
            facts=facts,
        )


def upload_bar(stream: TextIO) -> Progress:
    """For bytes on their way to a server."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )
