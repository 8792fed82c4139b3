"""The work of `vllm-batch doctor`."""

import argparse
import asyncio
import sys
from collections.abc import Iterable

import msgspec

from batch_cli.doctor.examine import examine
from batch_cli.doctor.finding import Finding
from batch_cli.doctor.place import find_place
from batch_cli.standalone.prepare import read_config
from batch_cli.standalone.settings import Flags
from batch_common.config import Log
from batch_common.logs import set_up_logs
from batch_common.service import EXIT_DONE, EXIT_FAILED
from batch_gpu_runner.gpu.library import driver_library

_WIDTH = 10


def doctor(args: argparse.Namespace) -> int:
    """1 when something has failed. Raises ConfigError."""
    flags = Flags(
        data_dir=args.data_dir,
        host=args.host,
        port=args.port,
        engine=args.engine,
        models=tuple(args.models or ()),
        options=tuple(args.options),
    )
    set_up_logs(Log(level="error"), "doctor")
    place = find_place(
        read_config(args.config, flags),
        standalone=args.config is None,
        has_runner=not args.no_runner,
        flags=flags,
    )
    found = asyncio.run(examine(place, driver_library()))
    for line in _lines(found, as_json=args.json):
        print(line)
    failed = sum(finding.status == "fail" for finding in found)
    warned = sum(finding.status == "warn" for finding in found)
    print(f"{len(found)} checks: {failed} failed, {warned} to look at", file=sys.stderr)
    return EXIT_FAILED if failed else EXIT_DONE


def _lines(found: list[Finding], *, as_json: bool) -> Iterable[str]:
    if as_json:
        return [msgspec.json.encode(finding).decode() for finding in found]
    lines: list[str] = []
    for finding in found:
        lines.append(f"{finding.status:5} {finding.check:{_WIDTH}} {finding.says}")
        if finding.fix:
            lines.append(f"{'':5} {'':{_WIDTH}} fix: {finding.fix}")
    return lines
