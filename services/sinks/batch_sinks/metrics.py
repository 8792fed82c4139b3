"""What Prometheus sees of deliveries."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "vllm_batch_sinks_deliveries",
    "Attempts by how they ended: delivered, retry, failed (given up) or skipped",
    ["sink", "outcome"],
)
PENDING = Gauge(
    "vllm_batch_sinks_pending", "Deliveries that are not made yet, in all processes", ["sink"]
)
WEBHOOK_POSTS = Counter(
    "vllm_batch_sinks_webhook_posts",
    "Webhooks sent, by what came back: 2xx, 3xx, 4xx, 5xx, timeout, unreachable, private "
    "(a target that is not allowed) or broken",
    ["outcome"],
)
ANSWERS = Counter(
    "vllm_batch_sinks_answers",
    "Answers given to handlers, by the task schema they were held against and how they kept it: "
    "valid or invalid. An answer that is read twice counts twice",
    ["schema", "outcome"],
)
SECONDS = Histogram(
    "vllm_batch_sinks_delivery_seconds",
    "Time of one attempt at a delivery",
    ["sink"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600),
)
