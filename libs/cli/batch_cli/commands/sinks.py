"""`vllm-batch sinks list|redrive`: below the command that starts the service."""

import argparse

from batch_cli.parser import Parser

_LIST_EPILOG = """\
Reads the database: run it where the services run, with their settings.

examples:
  vllm-batch sinks list
  vllm-batch sinks list --json | jq -r 'select(.failed > 0) | .sink'
"""
_REDRIVE_EPILOG = """\
One that fails again is given up again, at once; put right first what made it fail.

examples:
  vllm-batch sinks redrive                       every delivery that was given up
  vllm-batch sinks redrive --sink postgres
  vllm-batch sinks redrive batch_01k… batch_01m…
"""


def add(parser: Parser) -> None:
    """To the parser of `vllm-batch sinks`, which starts the service when no command follows."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=False)
    listing = commands.add_parser(
        "list",
        help="how each sink stands: pending, delivered, failed, last error",
        description="Show how each sink stands.",
        epilog=_LIST_EPILOG,
    )
    listing.add_argument("--json", action="store_true", help="one sink a line")
    _add_place(listing)
    listing.set_defaults(work="batch_cli.sinks:list_sinks", parser=listing)
    redriving = commands.add_parser(
        "redrive",
        help="try deliveries once more that were given up",
        description="Try deliveries once more that were given up.",
        epilog=_REDRIVE_EPILOG,
    )
    redriving.add_argument("batches", nargs="*", metavar="BATCH", help="default: all of them")
    redriving.add_argument("--sink", metavar="NAME", help="default: all of them")
    _add_place(redriving)
    redriving.set_defaults(work="batch_cli.sinks:redrive_sinks", parser=redriving)


def _add_place(parser: Parser) -> None:
    """SUPPRESS: what stands before the command is not to be forgotten."""
    parser.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="config.yml of the services"
    )
    parser.add_argument("--data-dir", metavar="D", help="that of `vllm-batch up`")
