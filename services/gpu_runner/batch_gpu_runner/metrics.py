"""What Prometheus sees of a runner. Counted per flush, not per request."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "vllm_batch_runner_requests", "Requests whose result is durable", ["model", "outcome"]
)
TOKENS: Final = Counter("vllm_batch_runner_tokens", "Tokens of those results", ["model", "kind"])
RETRIES: Final = Counter("vllm_batch_runner_retries", "Requests sent again", ["model"])
RESUMED: Final = Counter(
    "vllm_batch_runner_requests_resumed",
    "Requests not sent because an earlier attempt had saved their results",
    ["model"],
)
REDELIVERIES: Final = Counter(
    "vllm_batch_runner_redeliveries", "Chunks that were delivered before", ["model"]
)
CHUNKS: Final = Counter(
    "vllm_batch_runner_chunks", "Chunks let go, by how their stay here ended", ["model", "ending"]
)
CHUNK_SECONDS: Final = Histogram(
    "vllm_batch_runner_chunk_seconds",
    "From a chunk's delivery to its completion",
    ["model"],
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
FLUSH_SECONDS: Final = Histogram(
    "vllm_batch_runner_flush_seconds", "Time to make one segment durable"
)
ENGINE_RESTARTS: Final = Counter(
    "vllm_batch_runner_engine_restarts", "Tries to start an engine again that died"
)
ENGINE_UP: Final = Gauge("vllm_batch_runner_engine_up", "1 while the engine serves")
CONVICTED: Final = Counter(
    "vllm_batch_runner_requests_convicted",
    "Requests given up because the engine ended whenever it ran them, by error code",
    ["model", "code"],
)
IN_FLIGHT: Final = Gauge("vllm_batch_runner_in_flight", "Requests at the engine")
WINDOW: Final = Gauge("vllm_batch_runner_window", "Requests that may be at the engine")
CHUNKS_HELD: Final = Gauge("vllm_batch_runner_chunks_held", "Chunks in this runner's hands")
