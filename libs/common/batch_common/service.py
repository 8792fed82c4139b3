"""Running one service as a process: logs, loop, signals, exit codes."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from batch_common.config import Config
from batch_common.errors import BatchServerError, ConfigError
from batch_common.leaving import leave_in_time, leave_s
from batch_common.logs import get_log, set_up_logs
from batch_common.metrics_server import serve_metrics
from batch_common.process_metrics import show_build, watch_loop
from batch_common.tasks import cancel_all

log = get_log(__name__)

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CONFIG: Final = 3

# Set by a supervisor: the service leaves when that process is no longer its parent.
PARENT_VARIABLE: Final = "VLLM_BATCH_PARENT_PID"

Run = Callable[[Config, asyncio.Event], Awaitable[None]]


def run_service(name: str, config: Config, run: Run) -> int:
    """Runs until SIGINT or SIGTERM and returns the exit code.

    `run` gets an event that the first signal sets; it drains and returns, or is ended in the end.
    A second signal ends the process at once.
    """
    set_up_logs(config.log, name)
    show_build(name)
    try:
        with (
            serve_metrics(config.metrics),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_supervise(config, run, leave_s(name, config)))
    except ConfigError as error:
        return _say(error, EXIT_CONFIG)
    except BatchServerError as error:
        return _say(error, EXIT_FAILED)
    return EXIT_DONE


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the one line a person must see
    return code


async def _supervise(config: Config, run: Run, limit_s: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _on_signal, stop, number)
    watches = {
        asyncio.create_task(_watch_parent(stop), name="watch_parent"),
        asyncio.create_task(watch_loop(), name="watch_loop"),
        asyncio.create_task(leave_in_time(stop, limit_s, EXIT_FAILED), name="leave_in_time"),
    }
    try:
        await run(config, stop)
    finally:
        await cancel_all(watches)


def _on_signal(stop: asyncio.Event, number: signal.Signals) -> None:
    if stop.is_set():
        os._exit(128 + number)
    log.info("stopping", signal=number.name)
    stop.set()


async def _watch_parent(stop: asyncio.Event) -> None:
    """A killed supervisor must not leave services behind that hold ports and the GPU."""
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    while parent and os.getppid() == parent:  # noqa: ASYNC110 - no event tells of it everywhere
        await asyncio.sleep(0.5)
    if parent:
        log.warning("parent_gone", parent=parent)
        stop.set()
