"""What Prometheus sees of the gateway."""

from typing import Final

from batch_common.metrics import Metrics

_GATEWAY: Final = Metrics("gateway")
_ROUTE: Final = "the route's template, such as `/v1/batches/{batch_id:str}`; `none` for others"

REQUESTS: Final = _GATEWAY.counter(
    "vllm_batch_gateway_requests_total",
    "Answered HTTP requests.",
    rise="More use. More of status 5xx: the database or the blob store does not answer; of 401, "
    "somebody uses a key that is not known.",
    labels={"method": "HTTP's, or `other`", "route": _ROUTE, "status": "HTTP's; 499: gone before"},
)
REQUEST_SECONDS: Final = _GATEWAY.histogram(
    "vllm_batch_gateway_request_seconds",
    "From the first byte of an HTTP request to the start of its answer.",
    rise="Uploads take as long as their client sends; on other routes, the database is slow.",
    labels={"route": _ROUTE},
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
UPLOAD_BYTES: Final = _GATEWAY.counter(
    "vllm_batch_gateway_upload_bytes_total",
    "Bytes of stored files and upload parts.",
    rise="More input comes in; the blob store grows with it until files are deleted.",
)
OPEN_STREAMS: Final = _GATEWAY.gauge(
    "vllm_batch_gateway_open_streams",
    "Downloads and event streams in progress.",
    rise="More clients follow or download, or some read slowly.",
    labels={"kind": "`download` or `events`"},
)
for _kind in ("download", "events"):  # there before the first of them
    OPEN_STREAMS.labels(_kind)
