"""Running one service in this process."""

import argparse
import importlib
from pathlib import Path
from typing import Final

from batch_common.config_file import load_config
from batch_common.service import run_service

# Modules are imported by name, so that a gateway never loads an engine.
_APPS: Final = {
    "gateway": "batch_gateway.app",
    "scheduler": "batch_scheduler.app",
    "runner": "batch_gpu_runner.app",
    "sinks": "batch_sinks.app",
}


def run_one(args: argparse.Namespace) -> int:
    """Until a signal; the exit code."""
    config = load_config(Path(args.config) if args.config else None)
    app = importlib.import_module(_APPS[args.service])
    return run_service(args.service, config, app.run)
