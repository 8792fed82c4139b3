"""`vllm-batch run`: one file through one engine, in place of `vllm run-batch`."""

from batch_cli.commands.up import add_engine
from batch_cli.parser import Commands

_EPILOG = """\
The output has one line for each request, answers and errors, in the input's order. It appears when
it is complete. Typed again after a crash or Ctrl-C, with the same input and output path, it goes on
where it was. All requests of a file name the same endpoint in `url`.

Options that are not listed here go to the engine, as with `vllm run-batch`:
--max-model-len 8192, --enforce-eager, --dtype=bfloat16.

examples:
  vllm-batch run -i in.jsonl -o out.jsonl --model Qwen/Qwen3-4B
  vllm-batch run -i in.jsonl -o out.jsonl --model Qwen/Qwen3-4B --gpu-memory-utilization 0.8
  vllm-batch run -i in.jsonl -o out.jsonl --model small=/models/small.gguf --engine llamacpp
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "run",
        help="run one file through one engine and leave",
        description="Run a JSONL file of requests through an engine, write the results, leave.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "-i", "--input-file", required=True, metavar="IN.jsonl", help="requests, one a line"
    )
    parser.add_argument(
        "-o", "--output-file", required=True, metavar="OUT.jsonl", help="replaced if it exists"
    )
    add_engine(parser)
    parser.add_argument(
        "--served-model-name", metavar="NAME", help="what requests call the (only) model"
    )
    parser.add_argument(
        "--data-dir", metavar="D", help="where work in progress is kept (default: as `up`)"
    )
    parser.set_defaults(work="batch_cli.one_shot.run:run", takes_unknown=True, parser=parser)
