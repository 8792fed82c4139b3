"""`vllm-batch runner --config FILE` with a fake GPU: FAKE_NVML names the file of its readings.

PYTHONPATH=tests python -m support.fake_gpu_runner --config FILE
"""

import argparse
import functools
import os
import sys
from pathlib import Path

from batch_common.config_file import load_config
from batch_common.service import run_service
from batch_gpu_runner.app import run
from support.fake_nvml import FakeNvml


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    library = FakeNvml.from_file(Path(os.environ["FAKE_NVML"]))
    config = load_config(parser.parse_args().config)
    return run_service("runner", config, functools.partial(run, library=library))


if __name__ == "__main__":
    sys.exit(main())
