"""`vllm-batch list`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
examples:
  vllm-batch list
  vllm-batch list --limit 500 --json | jq -r 'select(.status == "failed") | .id'
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        help="list batches, newest first",
        description="List batches, newest first.",
        epilog=_EPILOG,
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--json", action="store_true", help="one Batch object a line")
    add_connection(parser)
    parser.set_defaults(
        work="batch_cli.client.look:list_batches", takes_unknown=False, parser=parser
    )
