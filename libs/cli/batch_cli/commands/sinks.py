"""`vllm-batch sinks check|list|redrive`: below the command that starts the service."""

import argparse

from batch_cli.parser import Parser

_CHECK_EPILOG = """\
Makes every handler that result_handlers.enabled names, as the service does when it starts, and
leaves. Nothing is delivered. Exit code 3: the configuration is wrong, and the message says where.
`vllm-batch up` does the same before it starts anything.

example:
  vllm-batch sinks check --config config.yml
"""
_LIST_EPILOG = """\
Reads the database: run it where the services run, with their settings.

examples:
  vllm-batch sinks list
  vllm-batch sinks list --json | jq -r 'select(.failed > 0) | .sink'
"""
_REDRIVE_EPILOG = """\
Also those that wait for their next try need wait no longer. Each is tried for the whole
result_handlers.retry_for_s again. Put right first what made it fail.

examples:
  vllm-batch sinks redrive                       every delivery that has failed
  vllm-batch sinks redrive --sink postgres
  vllm-batch sinks redrive batch_01k… batch_01m…
"""


def add(parser: Parser) -> None:
    """To the parser of `vllm-batch sinks`, which starts the service when no command follows."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=False)
    checking = commands.add_parser(
        "check",
        help="whether the configured handlers can be made",
        description="Find out whether the configured handlers can be made.",
        epilog=_CHECK_EPILOG,
    )
    _add_config(checking)
    checking.set_defaults(work="batch_cli.check_sinks:check_sinks", parser=checking)
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
        help="try deliveries again that were given up, or wait for their next try",
        description="Try deliveries again, at once, that were given up or wait for their next try.",
        epilog=_REDRIVE_EPILOG,
    )
    redriving.add_argument("batches", nargs="*", metavar="BATCH", help="default: all of them")
    redriving.add_argument("--sink", metavar="NAME", help="default: all of them")
    _add_place(redriving)
    redriving.set_defaults(work="batch_cli.sinks:redrive_sinks", parser=redriving)


def _add_place(parser: Parser) -> None:
    _add_config(parser)
    parser.add_argument("--data-dir", metavar="D", help="that of `vllm-batch up`")


def _add_config(parser: Parser) -> None:
    """SUPPRESS: what stands before the command is not to be forgotten."""
    parser.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="config.yml of the services"
    )
