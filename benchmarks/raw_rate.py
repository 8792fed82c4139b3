"""How fast one process can push requests through an engine, with nothing of the batch around it.

    python benchmarks/raw_rate.py [--requests 50000] [--concurrency 128] [-o key=value]…

starts the simulated engine on a Unix socket and prints the rate and the CPU time of both sides.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop

from batch_gpu_runner.engines.base import CHAT, Engine
from batch_gpu_runner.engines.managed import ManagedEngine
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings, parse_options


async def raw_rate(engine: Engine, requests: int, concurrency: int) -> float:
    """Requests a second over `requests` chats of about 300 bytes, `concurrency` in flight.

    The engine must be started. Raises AssertionError when an answer is not 200.
    """
    bodies = _bodies(engine.models[0], requests)
    began = time.perf_counter()
    await asyncio.gather(*(_worker(engine, bodies) for _ in range(concurrency)))
    return requests / (time.perf_counter() - began)


async def _worker(engine: Engine, bodies: Iterator[bytes]) -> None:
    for body in bodies:
        answer = await engine.post(CHAT, body, 60.0)
        assert answer.status == 200, answer


def _bodies(model: str, count: int) -> Iterator[bytes]:
    question = "Which of these reviews is about the battery? " * 4
    for number in range(count):
        yield (
            b'{"model":"%b","messages":[{"role":"user","content":"%d %b"}],"max_tokens":200}'
            % (model.encode(), number, question.encode())
        )


async def _measure(requests: int, concurrency: int, options: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(
            EngineSettings(engine="sim", state_dir=Path(folder), options=options)
        )
        await engine.start()
        try:
            await raw_rate(engine, min(requests, 2000), concurrency)
            await _measure_started(engine, requests, concurrency)
        finally:
            await engine.stop()


async def _measure_started(engine: Engine, requests: int, concurrency: int) -> None:
    assert isinstance(engine, ManagedEngine)
    server = psutil.Process(engine.pid)
    client_s, server_s = _own_cpu_s(), _cpu_s(server)
    rate = await raw_rate(engine, requests, concurrency)
    client_us = (_own_cpu_s() - client_s) / requests * 1e6
    server_us = (_cpu_s(server) - server_s) / requests * 1e6
    print(
        f"{rate:,.0f} requests/s, CPU per request: client {client_us:.0f} us, "
        f"simulated server {server_us:.1f} us ({requests:,} requests, {concurrency} in flight)"
    )


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description="Requests a second, client to simulator.")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    options = parse_options(tuple(arguments.options))
    uvloop.run(_measure(arguments.requests, arguments.concurrency, options))


if __name__ == "__main__":
    main()
