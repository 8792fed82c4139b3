"""Where a managed engine keeps its files: output, lock and socket, in the runner's state folder."""

import contextlib
import hashlib
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import msgspec

# sun_path holds 108 bytes on Linux, 104 on macOS, with the closing zero.
MAX_SOCKET_PATH_BYTES = 103

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 60


class EngineFiles(msgspec.Struct, frozen=True):
    """The files of one engine of one model; their names never contain the model's name as given."""

    folder: Path
    stem: str

    @property
    def output(self) -> Path:
        """What the engine writes."""
        return self.folder / f"{self.stem}.log"

    @property
    def lock(self) -> Path:
        """Held while an engine runs."""
        return self.folder / f"{self.stem}.lock"

    def new_socket(self) -> Path:
        """A socket path of its own for each start: a dying engine removes its socket late.

        It lies in a folder only we can enter, in the state folder or, where that path is too long
        for a socket, under the system's temporary folder. Blocking.
        """
        folder = self.folder / "sockets"
        name = f"{secrets.token_hex(4)}.sock"
        if len(bytes(folder / name)) <= MAX_SOCKET_PATH_BYTES:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return folder / name
        return Path(tempfile.mkdtemp(prefix="vllm-batch-")) / name

    def remove_socket(self, socket: Path) -> None:
        """Remove what `new_socket` made. Blocking."""
        with contextlib.suppress(OSError):
            socket.unlink()
        if socket.parent != self.folder / "sockets":
            shutil.rmtree(socket.parent, ignore_errors=True)


def engine_files(state_dir: Path, engine: str, model: str) -> EngineFiles:
    """Names that tell people which model they are about, and never clash or leave the folder."""
    readable = _UNSAFE.sub("-", model).strip("-.")[:_MAX_STEM]
    stem = f"{engine}-{readable}"
    if readable != model:
        stem += "-" + hashlib.blake2b(model.encode(), digest_size=4).hexdigest()
    return EngineFiles(state_dir.absolute(), stem)
