"""The gateway's Prometheus metrics. Labels never carry tenants or ids."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "vllm_batch_gateway_requests_total", "Answered requests.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "vllm_batch_gateway_request_seconds",
    "From the first byte of a request to the start of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
UPLOAD_BYTES = Counter(
    "vllm_batch_gateway_upload_bytes_total", "Bytes of stored files and upload parts."
)
OPEN_STREAMS = Gauge(
    "vllm_batch_gateway_open_streams", "Downloads and event streams in progress.", ["kind"]
)
