"""An examination in a process of its own."""

import tempfile
from pathlib import Path

import pytest

from batch_scheduler.examiner import IN_THREAD_BYTES, ExaminationDiedError, run_examination

from .examined import job, line

TEXT = b"".join(line(f"r{n}", model="mn"[n % 2]) + b"\n" for n in range(100))


async def test_a_process_reports_what_a_thread_does() -> None:
    reports, plans = [], []
    for size in (0, IN_THREAD_BYTES + 1):
        with tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as plan:
            spool.write(TEXT)
            spool.flush()
            reports.append(await run_examination(job(), spool, plan, size))  # type: ignore[arg-type]
            plan.seek(0)
            plans.append(plan.read())
    assert reports[0] == reports[1]
    assert plans[0] == plans[1]
    assert reports[0].requests == 100


async def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Here it cannot write its plan, as on a full disk."""
    read_only = tmp_path / "plan"
    read_only.touch()
    with tempfile.TemporaryFile() as spool, read_only.open("rb") as plan:
        spool.write(TEXT)
        spool.flush()
        with pytest.raises(ExaminationDiedError, match="exit code 1"):
            await run_examination(job(), spool, plan, IN_THREAD_BYTES + 1)  # type: ignore[arg-type]
