"""`vllm-batch cancel ID`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
What was answered is kept and can be fetched with `vllm-batch results`.

example:
  vllm-batch cancel batch_01k…
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "cancel",
        help="cancel a batch",
        description="Cancel a batch.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", help="batch_…")
    parser.add_argument("--json", action="store_true", help="print the Batch object")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.look:cancel", takes_unknown=False, parser=parser)
