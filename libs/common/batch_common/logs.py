"""Structured logs: constant event names, values as fields, ids bound once per task."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from batch_common.config import Log

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class Unfailing:
    """Writes where it can: neither a full disk nor a closed file may end the loop that logs."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def set_up_logs(settings: Log, service: str) -> None:
    """Both our own and libraries' records go to standard error, in one format."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # Its own tracebacks would show local variables, and secrets among them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            *_SHARED,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _set_up_stdlib(renderer, level)


def _set_up_stdlib(renderer: Processor, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries log every connection attempt as information; their warnings matter.
    root.setLevel(max(level, logging.WARNING))


def get_log(name: str) -> FilteringBoundLogger:
    """A logger whose records carry `logger_name=name`.

    Modules make theirs when they are imported, before `set_up_logs` has run: `bind` here would
    fix the settings of that moment.
    """
    log: FilteringBoundLogger = structlog.get_logger(logger_name=name)
    return log


bind_ids = structlog.contextvars.bound_contextvars
