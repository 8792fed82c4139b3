"""50,000 requests through every service, on a simulated engine without latency."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from openai import OpenAI
from openai.types import Batch
from rich.console import Console
from rich.table import Table

from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings
from benchmarks.raw_rate import raw_rate
from support.standalone import SERVICES, Standalone, standalone

_MODEL = ("--model", "bench=sim")
_REQUESTS = 50_000
_WINDOW = 128


def _write_input(path: Path) -> None:
    question = "Which of these reviews is about the battery? " * 4
    with path.open("w", encoding="ascii") as file:
        for number in range(_REQUESTS):
            file.write(
                f'{{"custom_id":"{number}","method":"POST","url":"/v1/chat/completions",'
                f'"body":{{"model":"bench","messages":[{{"role":"user",'
                f'"content":"{number} {question}"}}],"max_tokens":200}}}}\n'
            )


def _run_batch(system: Standalone) -> tuple[Batch, float, float]:
    """The finished batch, seconds for the upload, seconds from creation to completion."""
    path = system.folder / "input.jsonl"
    _write_input(path)
    client = OpenAI(base_url=system.url, api_key="none")
    began = time.perf_counter()
    with path.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    upload_s = time.perf_counter() - began
    began = time.perf_counter()
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch, upload_s, time.perf_counter() - began


async def _raw() -> float:
    with TemporaryDirectory() as folder:
        engine = create_engine(EngineSettings(engine="sim", state_dir=Path(folder)))
        await engine.start()
        try:
            await raw_rate(engine, 2_000, _WINDOW)
            return await raw_rate(engine, _REQUESTS, _WINDOW)
        finally:
            await engine.stop()


def main(console: Console) -> None:
    raw = uvloop.run(_raw())
    with TemporaryDirectory() as folder, standalone(Path(folder) / "data", *_MODEL) as system:
        batch, upload_s, run_s = _run_batch(system)
        peaks = {name: system.peak_mib(name) for name in SERVICES}
        cpu = system.cpu_s()
    assert batch.request_counts is not None
    table = Table("", "value", title=f"{_REQUESTS:,} requests, simulated engine without latency")
    table.add_row("status", f"{batch.status} ({batch.request_counts.completed:,} completed)")
    table.add_row("upload", f"{upload_s:.2f} s")
    table.add_row("creation to completion", f"{run_s:.2f} s")
    table.add_row(
        "end to end, upload included", f"{_REQUESTS / (upload_s + run_s):,.0f} requests/s"
    )
    table.add_row("limit: bare client to the same simulator", f"{raw:,.0f} requests/s")
    for name, peak in peaks.items():
        table.add_row(f"peak memory of {name}", f"{peak:.0f} MiB")
    for name, spent in sorted(cpu.items()):
        table.add_row(f"CPU of {name}", f"{spent:.1f} s")
    console.print(table)
