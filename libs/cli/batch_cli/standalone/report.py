"""What a person reads while the system starts, runs and leaves."""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from batch_cli.standalone.programs import Program

_MOST_CHARS: Final = 300


class _Record(msgspec.Struct):
    """The fields of a runner's log record that are worth telling."""

    event: str = ""
    engine: str = ""
    models: tuple[str, ...] = ()
    elapsed_s: float = 0
    says: str = ""
    why: str = ""
    error: str = ""
    took_s: float = 0
    again_in_s: float = 0


class Report:
    """Lines on standard error; standard output is left to `ready`."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:5.1f} s] {line}", file=sys.stderr, flush=True)

    def died(self, program: Program, code: int, delay_s: float) -> None:
        """A process ended by itself and is started again."""
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self.say(
            f"{program.name} ended ({how}) and starts again in {delay_s:g} s; log: {program.log}"
        )


class EngineNews:
    """Follows a runner's log and tells what becomes of its engine."""

    def __init__(self, program: Program, report: Report, *, named: bool) -> None:
        """`named`: there are several runners, so each line says whose engine it is about."""
        self._log = program.log
        self._report = report
        self._whose = f"{program.name}: " if named else ""
        found = self._log.stat() if self._log.exists() else None
        self._inode, self._offset = (found.st_ino, found.st_size) if found else (0, 0)

    def tell(self, *, serving: bool) -> None:
        """Whatever is new since the last call. `serving`: an engine that has started is news."""
        for line in self._new_lines():
            text = _news(line, serving=serving)
            if text:
                self._report.say(self._whose + text)

    def _new_lines(self) -> list[bytes]:
        try:
            with self._log.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:  # the other one had grown large and was put aside
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                whole, newline, _ = file.read(1 << 20).rpartition(b"\n")
        except OSError:
            return []
        self._offset += len(whole) + len(newline)
        return whole.splitlines()


def _news(line: bytes, *, serving: bool) -> str:
    try:
        record = msgspec.json.decode(line, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if record.event == "engine_started" and not serving:
        return ""  # `ready` is about to say so
    tell = _TELL.get(record.event)
    return " ".join(tell(record).split())[:_MOST_CHARS] if tell else ""


_TELL: Final[dict[str, Callable[[_Record], str]]] = {
    "engine_starting": lambda it: f"loading {', '.join(it.models)} with {it.engine}",
    "engine_still_starting": lambda it: f"still loading after {it.elapsed_s:.0f} s: {it.says}",
    "engine_started": lambda it: (
        f"{', '.join(it.models)} is served again, after {it.took_s:.1f} s of loading"
    ),
    "engine_died": lambda it: f"the engine died and is started again: {it.why}",
    "engine_start_failed": lambda it: (
        f"the engine did not start, again in {it.again_in_s:g} s: {it.error}"
    ),
    "engine_down": lambda it: it.why,
}
