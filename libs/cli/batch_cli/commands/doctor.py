"""`vllm-batch doctor`: what would go wrong, and what to do about it."""

from batch_cli.commands.up import add_engine
from batch_cli.parser import Commands, key_value

_EPILOG = """\
Without --config it examines this machine for `vllm-batch up`, with the same flags, before or while
that runs: while it does, --engine, --model and -o are looked at all the same, --host and --port are
not. With --config it examines the services that the file describes: NATS, database and blob store
have to be there; --no-runner is for a machine that runs no engine. Nothing is changed. Each line is
ok, warn or fail, with a fix below it; one failure makes the exit code 1.

examples:
  vllm-batch doctor --model Qwen/Qwen3-4B
  vllm-batch doctor --config config.yml --no-runner
  vllm-batch doctor --json | jq -r 'select(.status == "fail") | .fix'
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check GPU, driver, model, disk, NATS and database, with a fix for each",
        description="Check what a first-time user gets wrong, and say what to do.",
        epilog=_EPILOG,
    )
    parser.add_argument("--data-dir", metavar="D", help="that of `vllm-batch up`")
    parser.add_argument("--host", help="that of `vllm-batch up`")
    parser.add_argument("--port", type=int, help="that of `vllm-batch up`")
    add_engine(parser)
    parser.add_argument(
        "-o",
        dest="options",
        action="append",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="option for the engine; may be repeated",
    )
    parser.add_argument(
        "--no-runner",
        action="store_true",
        help="no runner is to run on this machine: leave out engine, GPU and model",
    )
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.set_defaults(work="batch_cli.doctor.run:doctor", takes_unknown=False, parser=parser)
