"""What a person reads while the system starts, runs and leaves."""

import sys
import time
from pathlib import Path

import msgspec

from batch_cli.standalone.programs import Program


class _Record(msgspec.Struct):
    """The fields of a runner's log record that are worth telling."""

    event: str = ""
    engine: str = ""
    models: tuple[str, ...] = ()
    elapsed_s: float = 0
    says: str = ""


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
    """Follows a runner's log and tells what the engine does while it starts."""

    def __init__(self, log: Path, report: Report) -> None:
        self._log = log
        self._report = report
        self._offset = log.stat().st_size if log.exists() else 0

    def tell(self) -> None:
        """Whatever is new since the last call."""
        for line in self._new_lines():
            text = _news(line)
            if text:
                self._report.say(text)

    def _new_lines(self) -> list[bytes]:
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                whole, newline, _ = file.read(1 << 20).rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(whole) + len(newline)
        return whole.splitlines()


def _news(line: bytes) -> str:
    try:
        record = msgspec.json.decode(line, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    match record.event:
        case "engine_starting":
            return f"loading {', '.join(record.models)} with {record.engine}"
        case "engine_still_starting":
            return f"still loading after {record.elapsed_s:.0f} s: {record.says}"
    return ""
