"""Showing a batch's way: a bar on a terminal, lines elsewhere, JSON for scripts."""

import sys
import time
from types import TracebackType
from typing import Any, Final, Protocol, Self, TextIO

from batch_cli.client.batch import Batch, read_batch
from batch_cli.client.look import print_json
from batch_cli.client.meter import Meter, Rate, pace

_LINE_EVERY_S: Final = 5.0


class Display(Protocol):
    """Used as a context; `show` takes each Batch object as it comes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, content: Any) -> None:
        """Whether anything changed is for the display to see."""
        ...


def choose_display(stream: TextIO, *, as_json: bool = False) -> Display:
    """What suits the stream."""
    if as_json:
        return JsonDisplay()
    if stream.isatty():
        from batch_cli.client.bar import BarDisplay  # noqa: PLC0415 - rich takes its time to load

        return BarDisplay(stream)
    return LineDisplay(stream)


class _Plain:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class JsonDisplay(_Plain):
    """Each change as a Batch object on standard output."""

    def __init__(self) -> None:
        self._last: Any = None

    def show(self, content: Any) -> None:
        """One line, unless it equals the one before."""
        if content != self._last:
            print_json(content)
            self._last = content


class LineDisplay(_Plain):
    """A line for each change of status, and each few seconds while requests run."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._meter = Meter()
        self._status = ""
        self._printed = 0.0

    def show(self, content: Any) -> None:
        """Prints when it is time to."""
        batch, now = read_batch(content), time.monotonic()
        rate = measured(self._meter, batch, now)
        if batch.status != self._status or now - self._printed >= _LINE_EVERY_S:
            print(progress_line(batch, rate), file=self._stream, flush=True)
            self._status, self._printed = batch.status, now


def measured(meter: Meter, batch: Batch, now: float) -> Rate:
    """The rate while requests run; nothing to measure otherwise."""
    if batch.status != "in_progress":
        return Rate()
    tokens = batch.usage.output_tokens if batch.usage else 0
    return meter.seen(now, done=batch.counts.done, tokens=tokens, total=batch.counts.total)


def progress_line(batch: Batch, rate: Rate) -> str:
    """`batch_… in_progress 120/500 done, 3 failed, 41.2 requests/s, 900 tokens/s, 0:09 left`."""
    counts = batch.counts
    words = [f"{counts.done}/{counts.total} done", f"{counts.failed} failed", *pace(rate)]
    return f"{batch.id} {batch.status} {', '.join(words)}"
