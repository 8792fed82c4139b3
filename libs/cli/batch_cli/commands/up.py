"""`vllm-batch up`: everything on this machine."""

from batch_cli.parser import Commands, Parser, key_value

ENGINES = ("auto", "vllm", "llamacpp", "openai", "sim")

_EPILOG = """\
Starts nats-server and one process per service, and prints one line on standard output,
`ready http://127.0.0.1:8000/v1`, when API and engine serve. What dies is started again.
Ctrl-C or SIGTERM hands work back and leaves within 30 seconds; a second one leaves at once.
Everything is kept in the data folder: logs/, the database, blobs/, jetstream/, and in run/ the
configuration that the services were given, nats.url, the address of the NATS server, and with
metrics prometheus.json, which lists their ports for Prometheus.

examples:
  vllm-batch up                                  the small demo model, where it is installed
  vllm-batch up --model Qwen/Qwen3-4B -o max_model_len=8192
  vllm-batch up --model small=/models/small.gguf --engine llamacpp
  vllm-batch up --runners 4 --model org/model    four GPUs (or groups of them), a runner each
  VLLM_BATCH_RUNNER__BASE_URL=http://gpu:8000/v1 vllm-batch up --engine openai
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "up",
        help="start everything on this machine",
        description="Start API, scheduler, engine and sinks on this machine.",
        epilog=_EPILOG,
    )
    parser.add_argument("--data-dir", metavar="D", help="default: the platform's user data folder")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: 8000; 0: any free one)"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="serve Prometheus metrics: the scheduler on PORT, gateway, sinks and each runner on "
        "the ports after it (default: none, and 0 means none)",
    )
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
    parser.set_defaults(work="batch_cli.standalone.up:up", takes_unknown=False, parser=parser)


def add_engine(parser: Parser) -> None:
    """What `up` and `run` have in common."""
    parser.add_argument("--engine", choices=ENGINES, help="default: auto")
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="[NAME=]PATH_OR_HUB_ID",
        help="what the engine loads; NAME is what requests call it "
        "(default: the hub id or the folder's name); may be repeated",
    )
    parser.add_argument(
        "--runners", type=runners, default=1, metavar="N", help="runner processes (default: 1)"
    )
    parser.add_argument("--config", metavar="FILE", help="config.yml; flags go before it")


def runners(text: str) -> int:
    """A count of at least one."""
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count
