"""Uploading with something to see meanwhile."""

import sys
import threading
import time
from pathlib import Path
from typing import Final

from batch_cli.client.api import Api
from batch_cli.client.upload import MAX_SINGLE_BYTES, file_size, upload

_LINE_EVERY_S: Final = 5.0


def send_file(api: Api, path: Path, *, max_single: int = MAX_SINGLE_BYTES) -> str:
    """The id of the new file; progress goes to standard error."""
    if not sys.stderr.isatty():
        return upload(api, path, _Lines(path.name, file_size(path)).sent, max_single=max_single)
    from batch_cli.client.bar import upload_bar  # noqa: PLC0415 - rich takes its time to load

    with upload_bar(sys.stderr) as bar:
        task = bar.add_task(f"uploading {path.name}", total=file_size(path))
        return upload(api, path, lambda size: bar.advance(task, size), max_single=max_single)


class _Lines:
    """A line each few seconds; none for an upload that is over sooner."""

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._so_far = 0
        self._lock = threading.Lock()  # parts are sent by several threads
        self._printed = time.monotonic()

    def sent(self, size: int) -> None:
        """Counts, and prints when it is time to."""
        with self._lock:
            self._so_far += size
            if time.monotonic() - self._printed < _LINE_EVERY_S:
                return
            self._printed = time.monotonic()
            megabytes, of = self._so_far / 1e6, self._total / 1e6
        line = f"uploading {self._name}: {megabytes:.0f} of {of:.0f} MB"
        print(line, file=sys.stderr, flush=True)
