"""`vllm-batch schema check|list|new`."""

import argparse
import re
from typing import Final

from batch_cli.parser import Commands, Parser

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_EPILOG = """\
A task schema says what JSON a model must answer, how its inputs are shown, and what a reviewer is
asked: docs/SCHEMAS.md. A batch names one in its metadata: vllm-batch submit FILE --schema NAME.

examples:
  vllm-batch schema list
  vllm-batch schema new tickets --from classification
  vllm-batch schema check tickets.json
"""
_CHECK_EPILOG = """\
Exit code 1: one of them is not valid. Each problem is a line, with a JSON pointer to its place.

example:
  vllm-batch schema check schemas/*.json
"""
_NEW_EPILOG = """\
Writes NAME.json, a valid schema to start from, and prints its path. Nothing is replaced. Batches
can name it once its folder is schemas.folder of the gateway's configuration.

examples:
  vllm-batch schema new tickets
  vllm-batch schema new tickets --from classification --folder my-schemas
"""
_LIST_EPILOG = """\
Those in schemas.folder, as the gateway has it, and the built-in ones.

examples:
  vllm-batch schema list --config config.yml
  vllm-batch schema list --folder my-schemas
  vllm-batch schema list --json | jq -r 'select(.problem) | .file'
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "schema",
        help="task schemas: check one, start one, list those there are",
        description="Work with task schemas.",
        epilog=_EPILOG,
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_one in (_add_check, _add_list, _add_new):
        add_one(inner)


def _add_check(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="whether files are valid task schemas",
        description="Find out whether files are valid task schemas.",
        epilog=_CHECK_EPILOG,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="NAME.json")
    _work(parser, "check")


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        help="the names that batches can use",
        description="List the names that batches can use.",
        epilog=_LIST_EPILOG,
    )
    parser.add_argument("--config", metavar="FILE", help="config.yml of the gateway")
    parser.add_argument(
        "--folder", metavar="F", help="as if it were schemas.folder (default: the gateway's)"
    )
    parser.add_argument("--json", action="store_true", help="one schema a line")
    _work(parser, "list_schemas")


def _add_new(commands: Commands) -> None:
    parser = commands.add_parser(
        "new",
        help="write a schema to start from",
        description="Write a schema to start from.",
        epilog=_NEW_EPILOG,
    )
    parser.add_argument("name", metavar="NAME", type=_name, help="letters, digits, _ and -")
    parser.add_argument(
        "--from", dest="source", metavar="NAME", help="a built-in one (default: a template)"
    )
    parser.add_argument("--folder", default=".", metavar="F", help="default: this one")
    _work(parser, "new")


def _work(parser: Parser, function: str) -> None:
    parser.set_defaults(work=f"batch_cli.schema:{function}", takes_unknown=False, parser=parser)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name for a schema: up to 64 letters, digits, _ and -, a letter or "
            "digit first"
        )
    return text
