"""What Prometheus sees of the scheduler. `measure` sets the gauges that are read from rows."""

from typing import Final

from batch_common.metrics import BY_MODEL, Metrics, begin_at_0

_SCHEDULER: Final = Metrics("scheduler")
# With the lease: exactly one process shows them.
_HOLDER: Final = Metrics("scheduler that holds the lease")
_SINK: Final = {"sink": "the result handler's name"}
_LONG: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)

BATCHES: Final = _SCHEDULER.gauge(
    "vllm_batch_batches",
    "Batches that have not ended.",
    rise="`validating`: large inputs, or inputs that cannot be read; `in_progress`: more comes in "
    "than is worked off; `finalizing` or `cancelling` for more than a minute: the blob store or "
    "a runner does not answer.",
    labels={"status": "`validating`, `in_progress`, `finalizing` or `cancelling`"},
)
MOVES: Final = _SCHEDULER.counter(
    "vllm_batch_batch_moves_total",
    "Batches by the status they moved to; what the API itself moves (`cancelling`) is not here.",
    rise="`completed`: more use; `failed`: inputs with errors; `expired`: windows too short for "
    "the runners there are.",
    labels={
        "status": "`in_progress`, `finalizing`, `completed`, `failed`, `expired` or `cancelled`"
    },
)
BATCH_SECONDS: Final = _SCHEDULER.histogram(
    "vllm_batch_batch_seconds",
    "From a batch's creation to its end.",
    rise="Larger batches, or a longer queue before them.",
    labels={"status": "`completed`, `failed`, `expired` or `cancelled`"},
    buckets=(*_LONG, 7 * 86400),
)
REQUESTS: Final = _SCHEDULER.counter(
    "vllm_batch_requests_total",
    "Requests with their final result, each exactly once.",
    rise="`completed`: throughput; `failed`: requests the engine refuses, or that ran out of time "
    "or tries; `unfinished`: batches cancelled or expired before their turn.",
    labels={**BY_MODEL, "outcome": "`completed`, `failed` or `unfinished`"},
)
TOKENS: Final = _SCHEDULER.counter(
    "vllm_batch_tokens_total",
    "Tokens of final results, each exactly once, as the engine counted them.",
    rise="Throughput. `cached` is a part of `input`: a larger share is less work; `reasoning` is a "
    "part of `output`.",
    labels={**BY_MODEL, "kind": "`input`, `cached`, `output` or `reasoning`"},
)
CHUNKS: Final = _SCHEDULER.counter(
    "vllm_batch_chunks_total",
    "Chunks released, committed, and closed by cancellation, expiry or a lost plan.",
    rise="Throughput; released without committed: chunks run and none ends.",
    labels={**BY_MODEL, "event": "`released`, `committed` or `closed`"},
)
CHUNK_WAIT: Final = _SCHEDULER.histogram(
    "vllm_batch_chunk_wait_seconds",
    "From a chunk's release to its first claim by a runner: the queue's wait.",
    rise="Runners are busy for longer, or gone. A few chunks for each runner always wait.",
    labels=BY_MODEL,
    buckets=(0.1, 0.3, *_LONG),
)
CHUNK_SECONDS: Final = _SCHEDULER.histogram(
    "vllm_batch_chunk_seconds",
    "From a chunk's release to its commit.",
    rise="Slower engines, longer waits, or chunks done twice; aimed at are "
    "`scheduler.chunk_target_s` of work, after the wait.",
    labels=BY_MODEL,
    buckets=(0.3, *_LONG),
)
REPAIRS: Final = _SCHEDULER.counter(
    "vllm_batch_chunk_repairs_total",
    "Chunks that nobody worked at and whose message was gone, put right by the reconciler.",
    rise="NATS loses messages (a lost store, a server without `sync_interval: always`), or runners "
    "die between result and completion. Nothing is lost by it.",
    labels={"how": "`committed` from what was there, or `offered` to the runners again"},
)
CLAIMS: Final = _SCHEDULER.counter(
    "vllm_batch_scheduler_claims_total",
    "Claims of runners by their answer.",
    rise="`go`: chunks held; `busy`: deliveries of chunks that another runner holds, so messages "
    "come back too soon; `stop`: batches cancelled or expired under way.",
    labels={"answer": "`go`, `busy` or `stop`"},
)
PENDING_REQUESTS: Final = _SCHEDULER.gauge(
    "vllm_batch_pending_requests",
    "Requests that are in no chunk yet.",
    rise="More comes in than the model's runners work off: what an autoscaler looks at, with the "
    "released ones.",
    labels=BY_MODEL,
)
PENDING_TOKENS: Final = _SCHEDULER.gauge(
    "vllm_batch_pending_tokens",
    "Their tokens, prompts and longest answers, as planning has estimated them.",
    rise="As for the requests; where requests differ much in length, this is the better measure.",
    labels=BY_MODEL,
)
RELEASED_REQUESTS: Final = _SCHEDULER.gauge(
    "vllm_batch_released_requests",
    "Requests of released chunks that have no result yet, whether a runner has them or not.",
    rise="More runners, or larger chunks; without a runner, one runner's share stays here.",
    labels=BY_MODEL,
)
RELEASED_CHUNKS: Final = _SCHEDULER.gauge(
    "vllm_batch_released_chunks",
    "Chunks released and not settled.",
    rise="More runners: `scheduler.chunks_per_runner` for each.",
    labels=BY_MODEL,
)
RUNNERS: Final = _HOLDER.gauge(
    "vllm_batch_model_runners",
    "Runners that serve the model or are about to; not those that drain or whose engine is down.",
    rise="Runners were added. 0 with work pending: nobody does it.",
    labels=BY_MODEL,
)
RATE: Final = _HOLDER.gauge(
    "vllm_batch_model_requests_per_second",
    "How fast the model is served by all its runners together, measured over the last minute of "
    "work; 0 while unknown.",
    rise="More runners, shorter requests, or more of their prompts in the engine's cache.",
    labels=BY_MODEL,
)
MARGIN: Final = _HOLDER.gauge(
    "vllm_batch_deadline_margin_seconds",
    "What would be left of the window of the batch that comes closest to missing it, at the "
    "model's measured rate and in the order of deadlines; without a rate, its whole rest.",
    rise="It should not fall: below 0 a batch will expire before it is done.",
    labels=BY_MODEL,
)
OUTBOX_UNSENT: Final = _SCHEDULER.gauge(
    "vllm_batch_outbox_unsent_events",
    "Events that are rows and not yet messages.",
    rise="NATS does not answer, or no process with a relay runs.",
)
OUTBOX_LAG: Final = _SCHEDULER.gauge(
    "vllm_batch_outbox_lag_seconds",
    "Age of the oldest of them; 0 without any.",
    rise="As above. New chunks do not reach their runners until it falls.",
)
DELIVERIES_PENDING: Final = _SCHEDULER.gauge(
    "vllm_batch_deliveries_pending",
    "Deliveries of ended batches that are not made yet, those in hand included.",
    rise="A receiver is away or slow, or the sinks service does not run.",
    labels=_SINK,
)
DELIVERIES_GIVEN_UP: Final = _SCHEDULER.gauge(
    "vllm_batch_deliveries_given_up",
    "Deliveries that were given up; `vllm-batch sinks redrive` tries them again.",
    rise="Receivers were away for all of `result_handlers.retry_for_s`, or refused for good.",
    labels=_SINK,
)
DELIVERY_AGE: Final = _SCHEDULER.gauge(
    "vllm_batch_delivery_oldest_pending_seconds",
    "Age of the oldest pending delivery, from its batch's end; 0 without any.",
    rise="As for the pending ones: nothing, or not everything, gets through.",
    labels=_SINK,
)
VALIDATION: Final = _SCHEDULER.histogram(
    "vllm_batch_scheduler_validation_seconds",
    "From the start of a validation to the plan or the errors.",
    rise="Larger inputs, or a slow blob store.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
ORPHANS: Final = _SCHEDULER.counter(
    "vllm_batch_scheduler_orphans_total",
    "Objects deleted from the blob store because no row needed them.",
    rise="Processes died in mid-work, or uploads were begun and left.",
    labels={"kind": "`upload part`, `plan`, `segment`, `chunk output`, …"},
)
LEASE: Final = _SCHEDULER.gauge(
    "vllm_batch_scheduler_lease_held",
    "1 in the process that runs the loops, 0 in its standbys.",
    rise="The sum over all schedulers is 1. 0 for longer than 15 s: nothing is validated, released "
    "or finished.",
)


def begin() -> None:
    """What is to be seen of a scheduler before anything happens."""
    begin_at_0(MOVES, ("in_progress", "finalizing", "completed", "failed", "expired", "cancelled"))
    begin_at_0(REPAIRS, ("committed", "offered"))
    begin_at_0(CLAIMS, ("go", "busy", "stop"))
