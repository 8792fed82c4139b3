"""The process between an owner and a program of others, so that none outlives its owner.

    python -m batch_common.guard LOCK GRACE_S -- COMMAND…

A runner owns its engine so, and the standalone launcher its nats-server. The owner holds the other
end of our standard input and nobody else does: when it reads as closed the owner has asked for the
end, or is gone, by whatever signal. Then COMMAND gets SIGTERM and, GRACE_S later, its whole process
group SIGKILL. COMMAND writes to our standard error; to our standard output go two lines,
`started PID` and `exited CODE` (negative: the signal).

LOCK is a file held while COMMAND runs: an owner that was killed and started again waits for the old
one's end, since two engines do not fit on one GPU, nor two servers on one store.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

_LOCK_POLL_S = 0.1
_LAST_REAP_S = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run one program to its end; the exit status is 0 whatever the program's was."""
    lock_path, grace_s, separator, *command = arguments
    if separator != "--" or not command:
        sys.stderr.write("guard: usage: LOCK GRACE_S -- COMMAND…\n")
        return 2
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # workers that left the group come to us when orphaned
    wakeup = _wake_on_signals()
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    if _lock(lock):
        pid = _spawn(command)
        _report(f"started {pid}")
        code = _Watch(pid, float(grace_s), wakeup).until_gone()
        _report(f"exited {code}")
    return 0


class _Watch:
    """The loop that waits for the program's end, or for the wish to end it."""

    def __init__(self, pid: int, grace_s: float, wakeup: int) -> None:
        self._pid = pid
        self._grace_s = grace_s
        self._wakeup = wakeup
        self._kill_at: float | None = None
        self._code: int | None = None

    def until_gone(self) -> int:
        """The program's exit code, once nothing of it is left."""
        while self._code is None:
            self._wait()
            self._reap()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                _kill_group(self._pid)
        self._sweep()
        return self._code

    def _wait(self) -> None:
        timeout = None if self._kill_at is None else max(0.05, self._kill_at - time.monotonic())
        sources = [self._wakeup] if self._kill_at is not None else [self._wakeup, 0]
        ready, _, _ = select.select(sources, [], [], timeout)
        if 0 in ready and not os.read(0, 1):
            self._ask_to_stop()
        if self._wakeup in ready and signal.SIGTERM in os.read(self._wakeup, 4096):
            self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_s
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _reap(self) -> None:
        for pid, status in _ended():
            if pid == self._pid:
                self._code = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> None:
        """Kill what the program left behind, in its group or out of it."""
        deadline = time.monotonic() + _LAST_REAP_S
        while time.monotonic() < deadline:
            _kill_group(self._pid)
            for orphan in _children():
                _kill(orphan)
            list(_ended())
            if not _has_children():
                return
            time.sleep(0.01)


def _spawn(command: list[str]) -> int:
    """Start COMMAND in a session of its own. A failed exec says so on standard error."""
    guard = os.getpid()
    # A signal between fork and exec would end in our own handler and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if not pid:
        _become(command, guard)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return pid


def _become(command: list[str], guard: int) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # for the case that the guard itself is killed
        if os.getppid() == guard:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _lock(descriptor: int) -> bool:
    """False when the owner went away before the lock was ours."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if select.select([0], [], [], _LOCK_POLL_S)[0]:
                return False
        else:
            return True


def _wake_on_signals() -> int:
    """A descriptor that becomes readable on SIGCHLD and SIGTERM, with the signals' numbers."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return readable


def _ended() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    """Direct children by Linux's process table; empty elsewhere."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(OSError):
        return [int(word) for word in listing.read_text().split()]
    return []


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # not yet a group, or one of zombies
        _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _report(line: str) -> None:
    with contextlib.suppress(OSError):  # the owner may be gone
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
