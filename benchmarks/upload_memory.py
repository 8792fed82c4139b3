"""What a 200 MB upload costs the gateway in memory and time."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from openai import OpenAI
from rich.console import Console
from rich.table import Table

from benchmarks.disk import durable_write_s
from support.standalone import standalone

_MODEL = ("--model", "bench=sim")
_LINE = (
    b'{"custom_id":"%08d","method":"POST","url":"/v1/chat/completions","body":'
    b'{"model":"bench","messages":[{"role":"user","content":"%s"}]}}\n'
)


def _write_input(path: Path, total_bytes: int) -> None:
    with path.open("wb") as file:
        number = 0
        while file.tell() < total_bytes - 1200:
            file.write(_LINE % (number, b"x" * 1000))
            number += 1


def main(console: Console) -> None:
    with TemporaryDirectory() as folder, standalone(Path(folder) / "data", *_MODEL) as system:
        path = system.folder / "input.jsonl"
        _write_input(path, 200_000_000)
        client = OpenAI(base_url=system.url, api_key="none")
        client.files.create(file=("warm.jsonl", _LINE % (0, b"x")), purpose="batch")
        before_mib = system.resident_mib("gateway")
        began = time.perf_counter()
        with path.open("rb") as file:
            client.files.create(file=file, purpose="batch")
        elapsed_s = time.perf_counter() - began
        raised_mib = system.peak_mib("gateway") - before_mib
        disk_s = durable_write_s(system.folder / "zeros", 200_000_000)
    table = Table("", "value", title="One upload of 200 MB")
    table.add_row("gateway's resident memory before", f"{before_mib:.0f} MiB")
    table.add_row("raised by the upload (peak)", f"{raised_mib:.1f} MiB")
    table.add_row("upload, openai client to durable object", f"{elapsed_s:.2f} s")
    table.add_row("limit: write and fsync of 200 MB on this disk", f"{disk_s:.2f} s")
    console.print(table)
