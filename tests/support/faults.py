"""Ordering faults of the simulated engine while it runs."""

from pathlib import Path

import msgspec

from batch_gpu_runner.engines.sim.fault_file import Mode, Ordered


def order(
    faults: Path,
    mode: Mode,
    *,
    status: int = 503,
    retry_after_s: float | None = None,
    rate: float = 1.0,
) -> None:
    """From now on; in one step, so that the engine never reads half an order."""
    beside = faults.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(Ordered(mode, status, retry_after_s, rate)))
    beside.replace(faults)
