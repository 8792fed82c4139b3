"""The work of `sinks check`: makes the configured handlers, and gives them up again."""

import argparse
import asyncio
from pathlib import Path

from batch_common.config import Log, Sinks
from batch_common.config_file import load_config
from batch_common.logs import set_up_logs
from batch_sinks.registry import make_sinks


def check_sinks(args: argparse.Namespace) -> int:
    """Names each one. Raises ConfigError."""
    set_up_logs(Log(level="error"), "sinks")  # what the service warns of when it starts
    config = load_config(Path(args.config) if args.config else None)
    names = asyncio.run(_made(config.sinks))
    print("\n".join(f"{name}: ok" for name in names) or "result_handlers.enabled names none")
    return 0


async def _made(settings: Sinks) -> list[str]:
    sinks = make_sinks(settings)
    for sink in sinks:
        await sink.close()
    return [sink.name for sink in sinks]
