"""`vllm-batch results ID`."""

from batch_cli.parser import Commands, add_connection

_EPILOG = """\
Result lines, successes and errors, in the order in which they were saved. While the batch runs,
what is there so far. With -o the file appears only when it is complete.

examples:
  vllm-batch results batch_01k… -o results.jsonl
  vllm-batch results batch_01k… | jq -r .response.body.choices[0].message.content
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "results",
        help="fetch a batch's results",
        description="Fetch a batch's results as JSONL.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", help="batch_…")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.results:results", takes_unknown=False, parser=parser)
