"""What an engine said before it ended, out of an output file of any size."""

import re
from pathlib import Path

_TAIL_BYTES = 64 << 10
_MAX_LINES = 5
_MAX_DETAILS = 3
_MAX_CHARS = 400

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Who said it and when, not what: "(EngineCore pid=7) ERROR 11-23 18:00:00 [core.py:70] " of vLLM,
# "0.00.008.337 E cmn  " of llama.cpp.
_FRAME = re.compile(
    r"^(?:\([^)]*pid=\d+\)\s*)?(?:(?P<level>[A-Z]+) [\d-]+ [\d:]+ \[[^\]]*\] ?)?"
    r"(?:\d+\.\d\d\.\d{3}\.\d{3} [EWI] )?"
)
_HARMLESS = frozenset({"DEBUG", "INFO", "WARNING"})
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b\s*:")
_FAILED = re.compile(r"\berror:|\bfailed to\b|^cannot ")
# These only say that something above them is the cause.
_ECHO = re.compile(r"See root cause above|Failed core proc|initialization failed\.")


def read_last_words(output: Path) -> str:
    """`last_words` of the file's end; empty when there is no file or nothing in it. Blocking."""
    return last_words(_tail(output))


def read_last_line(output: Path) -> str:
    """`last_line` of the file; empty when there is none. Blocking."""
    return last_line(_tail(output))


def last_words(text: str) -> str:
    """The last exception with what it says in detail, else the last lines that name a failure,
    else the last lines.
    """
    lines = [line for line in map(_plain, text.splitlines()) if line.strip()]
    raised = [at for at, line in enumerate(lines) if _RAISED.match(line)]
    causes = [at for at in raised if not _ECHO.search(lines[at])] or raised
    if causes:
        return "\n".join(_with_details(lines, causes[-1]))
    failed = [line.strip() for line in lines if _FAILED.search(line)]
    others = [line.strip() for line in lines] or [last_line(text)]
    return "\n".join(list(dict.fromkeys(failed or others))[-_MAX_LINES:])


def _with_details(lines: list[str], at: int) -> list[str]:
    """An exception's message may go on over the lines below it, until somebody else speaks."""
    said = [lines[at].strip()]
    for line in lines[at + 1 : at + 1 + _MAX_DETAILS]:
        if _RAISED.match(line) or line.startswith("Traceback"):
            break
        said.append(line.strip())
    return said


def one_line(words: str) -> str:
    """For messages that are a line of their own."""
    return " / ".join(words.splitlines())


def last_line(text: str) -> str:
    """What it said most recently, whatever it was."""
    said = (_printable(_COLOUR.sub("", raw)) for raw in reversed(text.splitlines()))
    return next((_FRAME.sub("", line).strip() for line in said if line.strip()), "")


def _plain(raw: str) -> str:
    """The line without frame; empty for a line that says itself that it is no failure."""
    line = _COLOUR.sub("", raw)
    frame = _FRAME.match(line)
    if frame is None or frame["level"] in _HARMLESS:
        return ""
    return _printable(line[frame.end() :])


def _printable(line: str) -> str:
    # A progress bar overwrites itself with carriage returns; splitlines has parted it.
    return "".join(c for c in line.expandtabs() if c.isprintable())[:_MAX_CHARS]


def _tail(output: Path) -> str:
    try:
        with output.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
