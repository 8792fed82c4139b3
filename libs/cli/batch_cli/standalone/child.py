"""One supervised process."""

import asyncio
import contextlib
import os
import signal
import time
from typing import Final

import msgspec

from batch_cli.standalone.last_error import last_error
from batch_cli.standalone.programs import Program
from batch_cli.standalone.report import Report
from batch_cli.standalone.restart import LONG_LIFE_S, GiveUp, after_exit
from batch_common.errors import ConfigError, StartError
from batch_common.service import EXIT_CONFIG
from batch_common.tasks import wait_any

_KEEP_LOG_BYTES: Final = 32 << 20


class Ties(msgspec.Struct, frozen=True):
    """Descriptors by which processes know of each other's end.

    lock: held by launcher and services, see folder.claimed
    held: a pipe's writing end, of launcher and services
    watched: its reading end: once nobody holds the other, nats-server's guard ends it. Services of
        a killed launcher so still hand back what they hold.
    """

    lock: int
    held: int
    watched: int


class Child:
    """A program that is started again when it ends by itself, until it is stopped."""

    def __init__(self, program: Program, ties: Ties, report: Report) -> None:
        self.program = program
        self._ties = ties
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()

    async def supervise(self, serving: asyncio.Event) -> None:
        """Returns after `stop`; raises StartError or ConfigError when it cannot go on."""
        short_lives = 0
        while not self._stop.is_set():
            began, offset = time.monotonic(), await asyncio.to_thread(self._prepare_log)
            code = await self._live()
            if self._stop.is_set():
                return
            short_lives = short_lives + 1 if time.monotonic() - began < LONG_LIFE_S else 1
            match after_exit(code, serving=serving.is_set(), short_lives=short_lives):
                case GiveUp():
                    raise self._failure(code, offset)
                case again:
                    self._report.died(self.program, code, again.delay_s)
                    await wait_any(self._stop, timeout_s=again.delay_s)

    def stop(self) -> None:
        """Ask it to leave; no more restarts."""
        self._stop.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.stop()
        if not self.program.guarded:  # a guard ends what it guards, and then itself
            self._signal(signal.SIGKILL)

    async def _live(self) -> int:
        descriptor = os.open(self.program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        guarded = self.program.guarded
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=self._ties.watched if guarded else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL if guarded else descriptor,
                stderr=descriptor,
                env=dict(self.program.environment),
                pass_fds=() if guarded else (self._ties.lock, self._ties.held),
                start_new_session=True,  # Ctrl-C in the terminal is for the launcher to act on
            )
        finally:
            os.close(descriptor)
        if self._stop.is_set():  # asked to while the process was being made
            self.stop()
        return await self._process.wait()

    def _prepare_log(self) -> int:
        """Its size, after one that has grown large was put aside."""
        log = self.program.log
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size <= _KEEP_LOG_BYTES:
                return log.stat().st_size
            log.replace(log.with_name(log.name + ".previous"))
        return 0

    def _failure(self, code: int, offset: int) -> StartError | ConfigError:
        said = last_error(self.program.log, offset)
        if code == EXIT_CONFIG:
            return ConfigError(said)
        if code == 1 and said and not self.program.guarded:
            return StartError(said)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return StartError(
            f"{self.program.name} {'ended' if self.program.guarded else how}: "
            f"{said or 'it said nothing'}; its log is {self.program.log}"
        )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
