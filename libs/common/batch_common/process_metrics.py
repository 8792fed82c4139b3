"""What Prometheus sees of every service: its build, its event loop, its loops, NATS and rows."""

import asyncio
import platform
from importlib.metadata import version
from typing import Final

from batch_common.metrics import Metrics

_EVERY: Final = Metrics("every service")
_TICK_S: Final = 0.5

BUILD: Final = _EVERY.gauge(
    "vllm_batch_build_info",
    "1, labelled with what runs.",
    rise="Another release, or another process of it, was started.",
    labels={"service": "the service's name", "version": "ours", "python": "Python's"},
)
LOOP_LAG: Final = _EVERY.histogram(
    "vllm_batch_event_loop_lag_seconds",
    "How much later than asked the event loop came back, looked at twice a second.",
    rise="Something keeps the process from its work: no CPU to be had, memory swapped out, the "
    "process suspended, or work that belongs into a thread.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
WORK_FAILURES: Final = _EVERY.counter(
    "vllm_batch_work_failures_total",
    "Rounds of a background loop that failed and are made again after a pause.",
    rise="What the loop needs is away: the database, NATS or the blob store; the log's "
    "`work_failed` names it.",
    labels={"work": "the loop: `relay`, `release`, `reconcile`, …, `deliver SINK`"},
)
NATS_CONNECTED: Final = _EVERY.gauge(
    "vllm_batch_nats_connected",
    "1 while the connection to NATS stands.",
    rise="0: NATS is away or not to be reached from there. Nothing is lost, all waits.",
)
NATS_RECONNECTS: Final = _EVERY.counter(
    "vllm_batch_nats_reconnects_total",
    "Connections to NATS that were made again.",
    rise="The network or the NATS server is unsteady.",
)
WRITE_SECONDS: Final = _EVERY.histogram(
    "vllm_batch_database_write_seconds",
    "Time of one write transaction, the wait for its turn included.",
    rise="The database is slow or busy; on SQLite all services queue for one lock: go to Postgres.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
EVENTS_SENT: Final = _EVERY.counter(
    "vllm_batch_outbox_sent_events_total",
    "Rows of the outbox that this process has brought to their stream.",
    rise="More batches and chunks; nothing at all while rows wait: see the outbox's lag.",
    labels={"stream": "`BATCHES`, `CHUNKS` or `DEAD`"},
)


def show_build(service: str) -> None:
    """Says what runs here."""
    ours = version("vllm-batch-server")
    BUILD.labels(service, ours, platform.python_version()).set(1)


async def watch_loop() -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK_S
        await asyncio.sleep(_TICK_S)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
