"""What Prometheus sees of deliveries. How many are pending the scheduler shows."""

from collections.abc import Sequence
from typing import Final

from batch_common.metrics import Metrics, begin_at_0

_SINKS: Final = Metrics("sinks")
_SINK: Final = {"sink": "the result handler's name"}

ATTEMPTS: Final = _SINKS.counter(
    "vllm_batch_sinks_deliveries_total",
    "Attempts at deliveries, by how they ended.",
    rise="`delivered`: batches end; `retry`: a receiver fails or refuses; `failed`: deliveries "
    "were given up; `skipped`: batches that are not for this handler.",
    labels={**_SINK, "outcome": "`delivered`, `retry`, `failed` (given up) or `skipped`"},
)
SECONDS: Final = _SINKS.histogram(
    "vllm_batch_sinks_delivery_seconds",
    "Time of one attempt at a delivery.",
    rise="Larger batches, or a slower receiver.",
    labels=_SINK,
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600),
)
LAG: Final = _SINKS.histogram(
    "vllm_batch_sinks_delivery_lag_seconds",
    "From a batch's end to its delivery, attempts that failed included.",
    rise="Receivers were away, or more batches end than a handler takes at a time.",
    labels=_SINK,
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 14400, 86400, 259200),
)
WEBHOOK_POSTS: Final = _SINKS.counter(
    "vllm_batch_sinks_webhook_posts_total",
    "Webhooks sent, by what came back.",
    rise="`2xx`: delivered; `3xx` and `4xx`: the receiver does not want them; `private`: a target "
    "that is not allowed; the others: the receiver is away or broken.",
    labels={
        "outcome": "`2xx`, `3xx`, `4xx`, `5xx`, `timeout`, `unreachable`, `private` or `broken`"
    },
)
ANSWERS: Final = _SINKS.counter(
    "vllm_batch_sinks_answers_total",
    "Answers given to handlers, by the task schema they were held against; one that is read twice "
    "counts twice.",
    rise="`invalid`: the model does not keep to the schema: its limit on tokens cuts answers off, "
    "or the engine does not guide it.",
    labels={"schema": "the task schema's name", "outcome": "`valid` or `invalid`"},
)


def begin(sinks: Sequence[str]) -> None:
    """What is to be seen of these before anything happens."""
    begin_at_0(ATTEMPTS, sinks, ("delivered", "retry", "failed", "skipped"))
