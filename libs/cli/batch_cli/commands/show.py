"""`vllm-batch show ID`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
examples:
  vllm-batch show batch_01k…
  vllm-batch show batch_01k… --json | jq .request_counts
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "show",
        help="show one batch",
        description="Show one batch: status, counts, files, times, errors.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", help="batch_…")
    parser.add_argument("--json", action="store_true", help="print the Batch object")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.look:show", takes_unknown=False, parser=parser)
