"""The work of `vllm-batch up`."""

import argparse
import asyncio

from batch_cli.standalone.prepare import prepared, read_config
from batch_cli.standalone.readiness import base_url
from batch_cli.standalone.report import Report
from batch_cli.standalone.settings import Flags
from batch_cli.standalone.stack import Plan, running
from batch_common.service import EXIT_DONE


def up(args: argparse.Namespace) -> int:
    """Until a signal. Raises ConfigError and StartError."""
    flags = Flags(
        data_dir=args.data_dir,
        host=args.host,
        port=args.port,
        metrics_port=args.metrics_port,
        engine=args.engine,
        models=tuple(args.models or ()),
        options=tuple(args.options),
    )
    report = Report()
    with prepared(read_config(args.config, flags), args.runners, report) as plan:
        asyncio.run(_serve(plan, report))
    return EXIT_DONE


async def _serve(plan: Plan, report: Report) -> None:
    async with running(plan, report) as stack:
        if await stack.until_ready():
            print(f"ready {base_url(plan.host, plan.port)}", flush=True)
            report.say("Ctrl-C ends it")
            await stack.unless_over(_for_ever())
    report.say("stopped")


async def _for_ever() -> None:
    await asyncio.Event().wait()
