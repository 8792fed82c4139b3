"""What Prometheus sees of deliveries."""

from prometheus_client import Counter, Gauge

ATTEMPTS = Counter(
    "vllm_batch_sinks_deliveries",
    "Attempts by how they ended: delivered, retry, failed (given up) or skipped",
    ["sink", "outcome"],
)
PENDING = Gauge(
    "vllm_batch_sinks_pending", "Deliveries that are not made yet, in all processes", ["sink"]
)
