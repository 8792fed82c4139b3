"""The disk's own speed, as the limit of what a durable put can do."""

import os
import time
from pathlib import Path


def durable_write_s(path: Path, total_bytes: int) -> float:
    """Seconds to write and fsync one file of zeros in pieces of 1 MiB."""
    piece = bytes(1 << 20)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(total_bytes // len(piece)):
            file.write(piece)
        os.fsync(file.fileno())
    elapsed = time.perf_counter() - began
    path.unlink()
    return elapsed
