"""`vllm-batch gateway|scheduler|runner|sinks`: one service, for machines of its own."""

from batch_cli.commands import sinks
from batch_cli.parser import Commands

_SERVICES = {
    "gateway": "the OpenAI Files, Uploads, Batches and Models API over HTTP",
    "scheduler": "validates, plans, releases and finishes batches",
    "runner": "runs an engine and feeds it",
    "sinks": "delivers finished batches",
}

_EPILOG = """\
Settings come from the file and from VLLM_BATCH_<SECTION>__<KEY> environment variables.

example:
  VLLM_BATCH_NATS__URL=nats://nats:4222 vllm-batch {name} --config config.yml
"""


def add(commands: Commands) -> None:
    for name, what in _SERVICES.items():
        parser = commands.add_parser(
            name,
            help=f"one service: {what}",
            description=f"Run one service: {what}.",
            epilog=_EPILOG.format(name=name),
        )
        parser.add_argument("--config", metavar="FILE", help="config.yml")
        parser.set_defaults(
            work="batch_cli.service:run_one", takes_unknown=False, parser=parser, service=name
        )
        if name == "sinks":
            sinks.add(parser)
