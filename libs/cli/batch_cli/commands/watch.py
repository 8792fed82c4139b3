"""`vllm-batch watch ID`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
Shows requests done and failed, requests/s, tokens/s and the time left: a bar on a terminal, lines
elsewhere. Exits with 0 when the batch completed; with 1 when it failed, expired or was cancelled.

examples:
  vllm-batch watch batch_01k…
  vllm-batch watch batch_01k… --json
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "watch",
        help="follow a batch to its end",
        description="Follow a batch to its end.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", help="batch_…")
    parser.add_argument("--json", action="store_true", help="a Batch object for each change")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.watch:watch", takes_unknown=False, parser=parser)
