"""The simulated server's process.

python -m batch_gpu_runner.engines.sim (--uds PATH | --port N) --model NAME… [-o key=value]…
"""

import argparse
import asyncio
import gc
import signal
import sys
from pathlib import Path

import uvloop

from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.settings import parse_options
from batch_gpu_runner.engines.sim.fault_file import FaultFile
from batch_gpu_runner.engines.sim.options import SimOptions, parse_sim_options, spared
from batch_gpu_runner.engines.sim.server import serve_sim


def main() -> int:
    """Serve until SIGTERM or SIGINT; exit status 2 for arguments that cannot be, 1 for the
    fault file's `no_start`.
    """
    arguments = _arguments()
    try:
        options = spared(
            parse_sim_options(parse_options(tuple(arguments.options))), arguments.spared
        )
    except EngineOptionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.fault_file and FaultFile(options.fault_file).current().mode == "no_start":
        sys.stderr.write("RuntimeError: Engine core initialization failed (simulated)\n")
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments, options))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m batch_gpu_runner.engines.sim",
        description="A simulated model server for load and fault tests.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", type=Path, help="listen on this Unix socket")
    where.add_argument("--port", type=int, help="listen on this TCP port; 0 for any")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", dest="models", action="append", required=True, metavar="NAME")
    parser.add_argument(
        "--spared", type=int, default=0, metavar="STEPS", help="memory settings are down by so much"
    )
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace, options: SimOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    served = serve_sim(
        tuple(arguments.models),
        options,
        unix_socket=arguments.uds,
        host=arguments.host,
        port=arguments.port or 0,
    )
    async with served as address:
        sys.stdout.write(f"serving {', '.join(arguments.models)} on {address}\n")
        sys.stdout.flush()
        gc.freeze()  # what the imports made is not looked through again
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
