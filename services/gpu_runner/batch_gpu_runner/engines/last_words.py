"""What an engine said before it ended, out of an output file of any size."""

import re
from pathlib import Path

_TAIL_BYTES = 64 << 10
_MAX_LINES = 5
_MAX_CHARS = 400

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# "(EngineCore pid=7) ERROR 11-23 18:00:00 [core.py:70] " of vLLM, "0.00.008.337 E cmn  " of
# llama.cpp: who said it and when, not what.
_FRAME = re.compile(
    r"^(?:\([^)]*pid=\d+\)\s*)?(?:(?:ERROR|CRITICAL|WARNING|INFO) [\d-]+ [\d:]+ \[[^\]]*\]\s*)?"
    r"(?:\d+\.\d\d\.\d{3}\.\d{3} [EWI] )?"
)
_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b\s*:|\berror:|\bfailed to\b|^cannot ")
# These only say that something above them is the cause.
_ECHO = re.compile(r"See root cause above|Failed core proc|initialization failed\.")


def read_last_words(output: Path) -> str:
    """`last_words` of the file's end; empty when there is no file or nothing in it. Blocking."""
    return last_words(_tail(output))


def read_last_line(output: Path) -> str:
    """`last_line` of the file; empty when there is none. Blocking."""
    return last_line(_tail(output))


def last_words(text: str) -> str:
    """The lines that name an error, the last ones at most, or else the last lines."""
    lines = [line for line in (_plain(raw) for raw in text.splitlines()) if line]
    errors = [line for line in lines if _ERROR.search(line)]
    causes = [line for line in errors if not _ECHO.search(line)] or errors
    return "\n".join(list(dict.fromkeys(causes or lines))[-_MAX_LINES:])


def last_line(text: str) -> str:
    """What it said most recently, for a report of progress."""
    return next((line for line in map(_plain, reversed(text.splitlines())) if line), "")


def _plain(raw: str) -> str:
    # A progress bar overwrites itself with carriage returns; splitlines has parted it.
    line = _FRAME.sub("", _COLOUR.sub("", raw)).strip()
    return "".join(c for c in line if c.isprintable())[:_MAX_CHARS]


def _tail(output: Path) -> str:
    try:
        with output.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
