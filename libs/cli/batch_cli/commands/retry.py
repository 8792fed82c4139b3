"""`vllm-batch retry ID`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
Makes a new batch of the requests that stand in the error file of a batch that has ended: those that
failed, and those that were not done before it expired or was cancelled. Prints the new batch's id.
The server has kept these requests, also where the input file was deleted. Endpoint, window and
metadata are the old batch's; `retry_of` in the metadata names it.

examples:
  vllm-batch retry batch_01k…
  vllm-batch retry batch_01k… --watch
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "retry",
        help="run a batch's failed, expired or cancelled requests again",
        description="Make a new batch of what failed, expired or was cancelled in another.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", help="batch_…")
    parser.add_argument("--watch", action="store_true", help="follow the new batch to its end")
    parser.add_argument("--json", action="store_true", help="print the new Batch object")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.retry:retry", takes_unknown=False, parser=parser)
