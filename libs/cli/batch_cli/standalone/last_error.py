"""Why a process ended, from what it wrote."""

from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 64 << 10
_MARK: Final = "error: "
_MAX_CHARS: Final = 4_000


def last_error(log: Path, since: int) -> str:
    """Of a log; only bytes from `since` on count."""
    return last_error_in(_tail(log, since))


def last_error_in(text: str) -> str:
    """What follows the last line that begins with `error: ` (engines' last words have several
    lines), else the last line; empty when it wrote nothing.
    """
    lines = text.splitlines()
    marked = [at for at, line in enumerate(lines) if line.startswith(_MARK)]
    if marked:
        said = [line for line in lines[marked[-1] :] if not line.startswith("{")]
        return "\n".join(said).removeprefix(_MARK).strip()[:_MAX_CHARS]
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:_MAX_CHARS]


def _tail(log: Path, since: int) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
