"""What Prometheus sees of the scheduler. No tenants and no ids as labels."""

from prometheus_client import Counter, Gauge, Histogram

BATCHES = Counter("vllm_batch_scheduler_batches", "Batches by the status they moved to", ["status"])
CHUNKS = Counter(
    "vllm_batch_scheduler_chunks",
    "Chunks: released, committed, closed (by cancellation or expiry), repaired (published again)",
    ["event"],
)
REQUESTS = Counter(
    "vllm_batch_scheduler_requests",
    "Requests of settled chunks by how they ended: completed, failed or unfinished",
    ["outcome"],
)
CLAIMS = Counter("vllm_batch_scheduler_claims", "Claims by their answer", ["answer"])
OUTSTANDING = Gauge(
    "vllm_batch_scheduler_outstanding_chunks", "Chunks released and not settled yet", ["model"]
)
PENDING = Gauge(
    "vllm_batch_scheduler_pending_requests", "Requests that are in no chunk yet", ["model"]
)
VALIDATION = Histogram(
    "vllm_batch_scheduler_validation_seconds",
    "From the start of a validation to the plan or the errors",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
ORPHANS = Counter(
    "vllm_batch_scheduler_orphans", "Objects deleted that no row needed, by kind", ["kind"]
)
LEASE = Gauge("vllm_batch_scheduler_lease_held", "1 while this process runs the loops")
