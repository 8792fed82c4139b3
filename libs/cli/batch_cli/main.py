"""The `vllm-batch` command: arguments in, exit code out."""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final, NoReturn

from batch_cli.commands import (
    backup,
    cancel,
    doctor,
    list_batches,
    results,
    retry,
    run,
    schema,
    services,
    show,
    submit,
    up,
    watch,
)
from batch_cli.parser import Parser

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 3

_EPILOG: Final = """\
examples:
  vllm-batch up --model Qwen/Qwen3-4B            serve the Batch API on this machine
  vllm-batch submit requests.jsonl --watch       hand in a batch and follow it
  vllm-batch results batch_01k… -o out.jsonl     fetch what is there
  vllm-batch retry batch_01k…                    run again what did not succeed
  vllm-batch doctor --model Qwen/Qwen3-4B        will it run here? with a fix for what will not
  vllm-batch run -i in.jsonl -o out.jsonl --model Qwen/Qwen3-4B
                                                 one file through one engine, no server

exit codes: 0 done, 1 failed, 2 usage, 3 configuration
"""


def script() -> NoReturn:
    """The program: `main`, and then an end at once.

    Threads of the object store's runtime outlive its last answer by a moment. One that meets an
    interpreter which is half torn down aborts the process, whatever its exit code was to be.
    """
    try:
        code: Any = main()
    except SystemExit as leaving:  # usage, help, version
        code = leaving.code
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Errors of ours end in one line on standard error."""
    parser = build_parser()
    args, unknown = parser.parse_known_args(arguments)
    if unknown and not args.takes_unknown:
        args.parser.refuse(unknown)
    args.unknown = unknown
    return _guarded(_load(args.work), args)


def build_parser() -> Parser:
    """The whole command line, without anything behind it."""
    parser = Parser(
        prog="vllm-batch",
        description="A self-hosted server for the OpenAI Batch API, and its client.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        up,
        run,
        submit,
        list_batches,
        show,
        watch,
        cancel,
        results,
        retry,
        schema,
        doctor,
    ):
        module.add(commands)
    services.add(commands)
    backup.add(commands)
    return parser


def _version() -> str:
    return f"vllm-batch {metadata.version('vllm-batch-server')}"


def _load(work: str) -> Callable[[Any], int]:
    module, _, name = work.partition(":")
    function: Callable[[Any], int] = getattr(importlib.import_module(module), name)
    return function


def _guarded(work: Callable[[Any], int], args: Any) -> int:
    from batch_common.errors import BatchServerError, ConfigError  # noqa: PLC0415 - see commands

    try:
        return work(args)
    except ConfigError as error:
        return _say(error, EXIT_CONFIG)
    except BatchServerError as error:
        return _say(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has gone (`| head`); what Python would flush at exit has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    script()
