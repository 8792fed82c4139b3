"""A line for each request served, cheap enough to stay on under load."""

import asyncio
import os
import time

import msgspec

FLUSH_S = 0.05
_HEAD = 120

_encode = msgspec.json.Encoder().encode


class RequestLog:
    """Appends to a file, every FLUSH_S while there is something: what was served longer ago than
    that is in the file whoever dies.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[bytes] = []

    def add(self, digest: bytes, prompt: str, status: int, fault: str | None = None) -> None:
        """`digest` of the body, the beginning of the prompt, the HTTP status it got; 0 for none.

        `fault`: what it met of the fault file.
        """
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        line = {"time": time.time(), "id": digest.hex(), "prompt": prompt[:_HEAD], "status": status}
        if fault is not None:
            line["fault"] = fault
        self._lines.append(_encode(line))

    def flush(self) -> None:
        """Write what has gathered."""
        if self._lines:
            os.write(self._descriptor, b"\n".join(self._lines) + b"\n")
            self._lines.clear()

    def close(self) -> None:
        """Flush, and close the file."""
        self.flush()
        os.close(self._descriptor)
