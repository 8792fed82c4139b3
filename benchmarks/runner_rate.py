"""How fast one runner works through chunks, with a scheduler that only says go.

    PYTHONPATH=tests python -m benchmarks.runner_rate [--requests N] [--prompt-bytes N] [--profile FILE]

Real NATS, real blobs, the simulated engine without latency, the runner in a process of its own;
prints requests a second from the release to the last completion, the runner's CPU time per
request, and its peak memory.
"""  # noqa: E501 - a command line to copy

import argparse
import contextlib
import cProfile
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop

from batch_common.blobs import open_blobs
from batch_common.bus import connect
from batch_common.config import Blobs, Config, Log, Runner
from batch_common.config_file import dump_config, load_config
from batch_common.events import ChunkReady
from batch_common.service import run_service
from batch_gpu_runner.app import run
from support.nats_process import NatsProcess
from support.scripted_scheduler import ScriptedScheduler, scripted_scheduler

_CHUNK = 5_000
_QUESTION = "Which of these reviews is about the battery? "


async def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nats = NatsProcess(folder)
        await nats.start()
        try:
            config = Config(
                data_dir=name,
                nats=nats.settings,
                runner=Runner(engine="sim", window=options.window),
                log=Log(level="warning"),
            )
            async with connect(nats.settings, "benchmark") as bus:
                blobs = open_blobs(Blobs(), folder)
                async with scripted_scheduler(bus, blobs) as scheduler:
                    with _runner(config, folder, options.profile) as process:
                        await _measure_on(scheduler, process, options)
        finally:
            await nats.stop()


@contextlib.contextmanager
def _runner(config: Config, folder: Path, profile: str | None) -> Iterator[psutil.Process]:
    path = folder / "config.yml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "benchmarks.runner_rate", "--runner", str(path)]
    with subprocess.Popen([*command, *(["--profile", profile] if profile else [])]) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


async def _measure_on(
    scheduler: ScriptedScheduler, process: psutil.Process, options: argparse.Namespace
) -> None:
    await _work(scheduler, await scheduler.plan(["warm up"]))
    question = _QUESTION * max(1, options.prompt_bytes // len(_QUESTION))
    prompts = [f"{at} {question}" for at in range(options.requests)]
    chunks = await scheduler.plan(prompts, chunk_size=_CHUNK)
    before_s, began = _cpu_s(process), time.perf_counter()
    await _work(scheduler, chunks)
    seconds, cpu_s = time.perf_counter() - began, _cpu_s(process) - before_s
    chunk_mib = max(ready.end_byte - ready.first_byte for ready in chunks) / (1 << 20)
    print(
        f"{options.requests / seconds:,.0f} requests/s, "
        f"runner: {cpu_s / options.requests * 1e6:.0f} us CPU per request, "
        f"peak {_peak_mib(process):.0f} MiB ({options.requests:,} requests in {len(chunks)} chunks "
        f"of {chunk_mib:.1f} MiB, {options.window} in flight)"
    )


async def _work(scheduler: ScriptedScheduler, chunks: list[ChunkReady]) -> None:
    await scheduler.release(*chunks)
    for ready in chunks:
        await scheduler.completed(ready, within_s=120)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_mib(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _run_profiled(config: Config, profile: str | None) -> int:
    if profile is None:
        return run_service("runner", config, run)
    with cProfile.Profile() as profiler:
        code = run_service("runner", config, run)
    profiler.dump_stats(profile)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description="Requests a second through one runner.")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--prompt-bytes", type=int, default=200)
    parser.add_argument("--profile", metavar="FILE", help="write a cProfile of the runner")
    parser.add_argument("--runner", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runner:
        return _run_profiled(load_config(options.runner), options.profile)
    uvloop.run(measure(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
