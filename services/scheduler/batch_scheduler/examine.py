"""One pass over a spooled input: every rule on every line, then the plan.

Nothing here waits for anything but the disk, so it runs in a thread, or as a process of its own
(`python -m batch_scheduler.examine INPUT_FD PLAN_FD`, job on standard input, report on standard
output), which also gives its memory back and leaves the interpreter lock to the service.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np

from batch_scheduler import problems
from batch_scheduler.columns import Columns
from batch_scheduler.plan import SpanPlan, write_plan
from batch_scheduler.problems import MAX_PROBLEMS, Problem
from batch_scheduler.prompt import count_inputs, estimate_tokens, prefix_keys
from batch_scheduler.repeats import repeated
from batch_scheduler.rules import RequestReader, Rules, explain, mismatched_model

_BOM: Final = b"\xef\xbb\xbf"
_READ_BYTES: Final = 1 << 20
_EMBEDDINGS: Final = "/v1/embeddings"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to hold an input against. `window_bytes`: see plan.planned_order."""

    rules: Rules
    max_requests: int
    max_line_bytes: int
    max_embedding_inputs: int
    window_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`problems` holds the first MAX_PROBLEMS; with any, `plan` and `spans` are empty."""

    requests: int
    # The plan's name.
    plan: str = ""
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    spans: tuple[SpanPlan, ...] = ()


class _CustomId(msgspec.Struct):
    custom_id: str


class Examination:
    """The state of one pass."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rules = job.rules
        self._reader = RequestReader(job.rules)
        self._columns = Columns()
        self._models: dict[str, int] = {}
        self._inputs = 0
        self._problems: list[Problem] = []
        self._problem_count = 0

    def run(self, spool: BinaryIO, plan: BinaryIO) -> Report:
        """Reads `spool` to its end; writes `plan` when all is well."""
        for offset, length, number, line in _lines(spool, self._job.max_line_bytes):
            if len(self._columns) == self._job.max_requests:
                self._refuse(self._too_many())
                break
            self._check(offset, length, number, line)
        self._check_whole(spool)
        name, spans = "", list[SpanPlan]()
        if not self._problem_count:
            window = self._job.window_bytes
            name, spans = write_plan(self._columns, list(self._models), window, plan)
        return Report(
            requests=len(self._columns),
            plan=name,
            problems=tuple(self._problems[:MAX_PROBLEMS]),
            problem_count=self._problem_count,
            spans=tuple(spans),
        )

    def _check(self, offset: int, length: int, number: int, line: bytes) -> None:
        found = self._reader.read(line) if length <= self._job.max_line_bytes else None
        if found is None:
            self._place_bad(offset, length, number, line)
            return
        request, prompt = found
        body = request.body
        self._columns.place(offset, length, number, hash(request.custom_id))
        self._columns.describe(
            self._model(body.model, number),
            estimate_tokens(len(prompt), body),
            prefix_keys(prompt),
        )
        if self._rules.endpoint == _EMBEDDINGS:
            self._inputs += count_inputs(prompt)

    def _place_bad(self, offset: int, length: int, number: int, line: bytes) -> None:
        if length > self._job.max_line_bytes:
            found, custom_id = [self._too_long(length, number)], None
        else:
            found, custom_id = explain(line, number, self._rules)
        for problem in found:
            self._refuse(problem)
        self._columns.place(offset, length, number, hash(custom_id or (number, offset)))
        self._columns.describe(0, 0, (0, 0, 0))

    def _model(self, model: str, number: int) -> int:
        known = self._models.setdefault(model, len(self._models))
        if known and self._rules.single_model:
            self._refuse(mismatched_model(model, number))
        return known

    def _check_whole(self, spool: BinaryIO) -> None:
        self._check_repeats(spool.fileno())
        if not len(self._columns):
            self._refuse(Problem("empty_file", "The input file holds no requests."))
        most = self._job.max_embedding_inputs
        if self._inputs > most:
            message = f"The batch has {self._inputs} embedding inputs; at most {most} are allowed."
            self._refuse(Problem("too_many_embedding_inputs", message, "body.input"))

    def _check_repeats(self, descriptor: int) -> None:
        columns = self._columns

        def read_id(position: int) -> str | None:
            length = min(columns.length[position], self._job.max_line_bytes)
            try:
                line = os.pread(descriptor, length, columns.offset[position])
                return msgspec.json.decode(line, type=_CustomId).custom_id
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None

        positions = repeated(np.frombuffer(columns.id_hash, np.int64), read_id)
        del columns.id_hash
        for position in positions[:MAX_PROBLEMS].tolist():
            custom_id = read_id(position) or ""
            self._problems.append(problems.repeated_id(custom_id, columns.number[position]))
        self._problem_count += len(positions)
        if len(positions):
            self._problems.sort(key=_place)

    def _refuse(self, problem: Problem) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def _too_many(self) -> Problem:
        message = (
            f"The batch has more than {self._job.max_requests} requests, which is the limit: "
            "split the file into several batches."
        )
        return Problem("too_many_requests", message)

    def _too_long(self, length: int, number: int) -> Problem:
        message = f"This line has {length} bytes; at most {self._job.max_line_bytes} are allowed."
        return Problem("request_too_large", message, None, number)


def _place(problem: Problem) -> tuple[bool, int]:
    """Lines in order, then what concerns the file as a whole."""
    return problem.line is None, problem.line or 0


def _lines(spool: BinaryIO, max_bytes: int) -> Iterator[tuple[int, int, int, bytes]]:
    """(offset, length, number, line) of lines that are not blank; split at \\n alone.

    A BOM at the start belongs to no line. Of a line above `max_bytes` only that much is kept.
    """
    spool.seek(0)
    offset = len(_BOM) if spool.read(len(_BOM)) == _BOM else 0
    spool.seek(offset)
    number = 0
    while line := spool.readline(max_bytes + 1):
        length = len(line)
        while not line.endswith(b"\n") and (rest := spool.readline(_READ_BYTES)):
            length += len(rest)
            line = line if not rest.endswith(b"\n") else b"\n"
        number += 1
        if length <= max_bytes and line.isspace():
            offset += length
            continue
        yield offset, length, number, line
        offset += length


def examine(job: Job, spool: BinaryIO, plan: BinaryIO) -> Report:
    """Validates and plans. The spool ends in a newline; `plan` is left at its end."""
    return Examination(job).run(spool, plan)


def _volunteer() -> None:
    """When memory runs out, Linux kills this process rather than the scheduler."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def main() -> None:
    _volunteer()
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    with (
        open(int(sys.argv[1]), "rb", buffering=_READ_BYTES) as spool,  # noqa: PTH123 - a descriptor
        open(int(sys.argv[2]), "wb", buffering=_READ_BYTES) as plan,  # noqa: PTH123 - a descriptor
    ):
        report = examine(job, spool, plan)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
