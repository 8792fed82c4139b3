"""Where an examination runs: small inputs in a thread, others in a process of their own.

A pass over 200 MB would hold the interpreter lock for seconds, and claims must be answered in
the meantime.
"""

import asyncio
import sys
from typing import BinaryIO, Final

import msgspec

from batch_common.errors import TransientError
from batch_scheduler.examine import Job, Report, examine

IN_THREAD_BYTES: Final = 1 << 20
_LAST_WORDS_CHARS: Final = 300
# Far above what a pass takes; a process that hangs must not hold up all others for ever.
_LEAST_S: Final = 60.0
_BYTES_PER_S: Final = 1_000_000


class ExaminationDiedError(TransientError):
    """The process that examined an input ended without a report: out of memory, or a defect."""


async def run_examination(
    job: Job, spool: BinaryIO, plan: BinaryIO, input_bytes: int, *, apart: bool = False
) -> Report:
    """`apart`: in a process of its own, however small. Raises ExaminationDiedError."""
    if input_bytes <= IN_THREAD_BYTES and not apart:
        return await asyncio.to_thread(examine, job, spool, plan)
    return await _in_process(job, spool, plan, _LEAST_S + input_bytes / _BYTES_PER_S)


async def _in_process(job: Job, spool: BinaryIO, plan: BinaryIO, limit_s: float) -> Report:
    descriptors = (spool.fileno(), plan.fileno())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batch_scheduler.examine",
        *map(str, descriptors),
        pass_fds=descriptors,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            report, words = await process.communicate(msgspec.json.encode(job))
    except TimeoutError as error:
        message = f"the examination of an input did not end within {limit_s:.0f} s"
        raise ExaminationDiedError(message) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = words.decode(errors="replace").strip()[-_LAST_WORDS_CHARS:]
        raise ExaminationDiedError(
            f"the examination of an input ended with exit code {process.returncode}: {last}"
        )
    return msgspec.json.decode(report, type=Report)
