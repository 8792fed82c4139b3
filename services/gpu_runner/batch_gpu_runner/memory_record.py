"""What an engine was found to need less of, kept over restarts of the runner.

One file in the runner's state folder, an entry for each engine release, model, options and GPUs:
change one of them and everything is tried again as it was given.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from batch_common.clock import wall
from batch_common.config import Runner
from batch_common.logs import get_log
from batch_gpu_runner.gpu.reading import Gpu

log = get_log(__name__)

FILE: Final = "memory.json"
# Then it is tried as given again: somebody else may have had the memory at the time.
_FORGOTTEN_AFTER_S: Final = 7 * 86400.0


class Spared(msgspec.Struct, frozen=True):
    """steps: that the engine's memory settings are down; window: requests in flight at most."""

    steps: int
    window: int


class _Entry(msgspec.Struct, frozen=True):
    steps: int
    window: int
    # Unix seconds.
    at: float


class MemoryRecord:
    """One runner's entry."""

    def __init__(self, folder: Path, key: str) -> None:
        """`key`: as `memory_key` makes it."""
        self._path = folder / FILE
        self._key = key

    async def load(self) -> Spared | None:
        """None: nothing is known, or it is too old."""
        entry = (await asyncio.to_thread(self._read)).get(self._key)
        if entry is None or wall() - entry.at > _FORGOTTEN_AFTER_S:
            return None
        log.info("memory_remembered", engine=self._key, steps=entry.steps, window=entry.window)
        return Spared(entry.steps, entry.window)

    async def save(self, spared: Spared | None) -> None:
        """None: nothing need be spared. It is no error when the folder cannot be written to."""
        try:
            await asyncio.to_thread(self._write, spared)
        except OSError as error:
            log.warning("memory_not_recorded", path=str(self._path), error=str(error))

    def _read(self) -> dict[str, _Entry]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Entry])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("memory_unreadable", path=str(self._path), error=str(error))
            return {}

    def _write(self, spared: Spared | None) -> None:
        entries = self._read()
        entries.pop(self._key, None)
        if spared is not None:
            entries[self._key] = _Entry(spared.steps, spared.window, wall())
        elif not self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{FILE}.{os.getpid()}")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(entries), indent=2))
        beside.replace(self._path)


def memory_key(kind: str, version: str, settings: Runner, gpus: tuple[Gpu, ...]) -> str:
    """For people to read, but for the digest of the options at its end."""
    cards = [f"{gpu.name} {gpu.memory_bytes >> 20} MiB" for gpu in gpus] or ["no GPU"]
    given = msgspec.json.encode([sorted(settings.options.items()), settings.window])
    digest = hashlib.blake2b(given, digest_size=4).hexdigest()
    models = ", ".join(settings.models) or "default model"
    return f"{kind} {version} | {models} | {' + '.join(cards)} | {digest}"
