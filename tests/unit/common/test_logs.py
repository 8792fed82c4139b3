"""A log that cannot be written costs its lines, not the service."""

import subprocess
import sys

_PROGRAM = """
import sys
from batch_common.config import Log
from batch_common.logs import get_log, set_up_logs
sys.stderr = open("/dev/full", "w", buffering=1)
set_up_logs(Log(), "gateway")
log = get_log("somebody")
for n in range(3):
    log.warning("disk_full", n=n, text="x" * 10_000)
print("alive", flush=True)
"""


def test_a_full_disk_under_the_log_ends_nobody() -> None:
    """Each write fails with ENOSPC; a loop that logs its own trouble would die of that."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "alive\n"
