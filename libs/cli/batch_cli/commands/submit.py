"""`vllm-batch submit FILE`."""

from batch_cli.parser import Commands, add_connection, key_value

_EPILOG = """\
Prints the batch's id on standard output. Files above 512 MB go through the Uploads API.

examples:
  vllm-batch submit requests.jsonl
  vllm-batch submit requests.jsonl --metadata project=labels --watch
  vllm-batch submit requests.jsonl --schema classification
  ID=$(vllm-batch submit requests.jsonl) && vllm-batch watch $ID && vllm-batch results $ID
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "submit",
        help="upload a JSONL file and create a batch from it",
        description="Upload a JSONL file of requests and create a batch from it.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="JSONL, one request a line")
    parser.add_argument(
        "--endpoint", metavar="E", help="default: the `url` of the file's first request"
    )
    parser.add_argument(
        "--metadata",
        action="append",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="may be repeated",
    )
    parser.add_argument(
        "--schema",
        metavar="NAME",
        help="the task schema that answers must follow, as metadata.schema (docs/SCHEMAS.md)",
    )
    parser.add_argument("--completion-window", default="24h", metavar="W", help="default: 24h")
    parser.add_argument("--watch", action="store_true", help="follow the batch to its end")
    parser.add_argument("--json", action="store_true", help="print the Batch object")
    add_connection(parser)
    parser.set_defaults(work="batch_cli.client.submit:submit", takes_unknown=False, parser=parser)
