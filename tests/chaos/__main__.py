"""`python -m chaos --seconds 600 --seed 7 --database postgres`.

Prints the figures; exit code 1 when a promise was broken, with the seed that does it again.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from chaos.acts import acts
from chaos.faults import all_faults
from chaos.report import summary
from chaos.run import Settings, run_chaos


def main() -> int:
    arguments = _arguments()
    # As Ctrl-C does, it ends all that was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    seed = random.SystemRandom().getrandbits(31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, files in {folder}", flush=True)
    whole = Settings(
        folder=folder,
        seed=seed,
        seconds=arguments.seconds,
        database=arguments.database,
        every_s=arguments.every,
        faults=tuple(arguments.faults.split(",")) if arguments.faults else (),
        batches=tuple(arguments.batches.split(",")) if arguments.batches else (),
    )
    reports = []
    for settings in acts(whole, arguments.nats):
        reports.append(asyncio.run(run_chaos(settings)))
        print(reports[-1].text(), flush=True)
    print(summary(reports))
    if any(report.violations for report in reports):
        print(f"again: --seed {seed} --seconds {arguments.seconds:g}; files stay in {folder}")
        return 1
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults strike")
    parser.add_argument("--seed", type=int, help="of schedule and workload; drawn when not given")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument(
        "--nats",
        choices=("single", "cluster", "both"),
        default="both",
        help="one server, three (R3), or one and then three",
    )
    parser.add_argument("--every", type=float, default=0, help="seconds between two faults")
    parser.add_argument("--faults", help=f"only these, of: {', '.join(all_faults())}")
    parser.add_argument("--batches", help="only these kinds of batches")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of a good run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
