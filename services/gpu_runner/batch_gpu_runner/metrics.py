"""What Prometheus sees of a runner. Counted per flush, not per request."""

from collections.abc import Sequence
from typing import Final

from batch_common.metrics import BY_MODEL, Metrics, begin_at_0
from batch_gpu_runner.death import Cause

_RUNNER: Final = Metrics("runner")

REQUESTS: Final = _RUNNER.counter(
    "vllm_batch_runner_requests_total",
    "Requests whose result is durable, as they come; one done twice counts twice.",
    rise="`completed`: throughput; `failed`: the engine refuses requests, or they ran out of time "
    "or tries: look into the error file of the batch.",
    labels={**BY_MODEL, "outcome": "`completed` or `failed`"},
)
TOKENS: Final = _RUNNER.counter(
    "vllm_batch_runner_tokens_total",
    "Tokens of those results, as the engine counted them.",
    rise="Throughput. `cached` is a part of `input`, `reasoning` of `output`.",
    labels={**BY_MODEL, "kind": "`input`, `cached`, `output` or `reasoning`"},
)
RETRIES: Final = _RUNNER.counter(
    "vllm_batch_runner_retries_total",
    "Requests sent again after an error that may pass: 429, 5xx, a broken connection.",
    rise="The engine is overloaded or unsteady; a remote endpoint limits its rate.",
    labels=BY_MODEL,
)
RESUMED: Final = _RUNNER.counter(
    "vllm_batch_runner_requests_resumed_total",
    "Requests not sent because an earlier attempt had saved their results.",
    rise="Chunks change hands in mid-work: runners drain, die or are cut off.",
    labels=BY_MODEL,
)
REDONE: Final = _RUNNER.counter(
    "vllm_batch_runner_requests_redone_total",
    "Requests sent again whose work was lost: at the engine when it died, or sent by an earlier "
    "attempt that did not save their results (as far as its segments show it).",
    rise="Engines die (`engine_died`), or runners do, or are cut off (`redelivered`).",
    labels={**BY_MODEL, "reason": "`engine_died` or `redelivered`"},
)
REDELIVERIES: Final = _RUNNER.counter(
    "vllm_batch_runner_redeliveries_total",
    "Chunks that were delivered before.",
    rise="Runners die, drain or are cut off from NATS; or chunks were handed back.",
    labels=BY_MODEL,
)
CHUNKS: Final = _RUNNER.counter(
    "vllm_batch_runner_chunks_total",
    "Chunks let go, by how their stay here ended.",
    rise="`finished`: throughput; `stopped`: batches cancelled or expired; `drained`: this runner "
    "left or its engine is down; `lost`: it was not heard of for too long; `damaged`: plans that "
    "cannot be read.",
    labels={**BY_MODEL, "ending": "`finished`, `stopped`, `drained`, `lost` or `damaged`"},
)
CHUNK_SECONDS: Final = _RUNNER.histogram(
    "vllm_batch_runner_chunk_seconds",
    "From a chunk's delivery to its completion.",
    rise="A slower engine, longer requests, or a window that has become small.",
    labels=BY_MODEL,
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
FLUSH_SECONDS: Final = _RUNNER.histogram(
    "vllm_batch_runner_flush_seconds",
    "Time to make one segment durable, tries that failed included.",
    rise="The blob store is slow or full; the runner stops feeding the engine when too much waits.",
    buckets=(0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
FLUSH_FAILURES: Final = _RUNNER.counter(
    "vllm_batch_runner_flush_failures_total",
    "Tries to save results that failed and are made again.",
    rise="The blob store is away or full. Results wait in the runner's memory; should it die, they "
    "are computed again.",
)
ENGINE_RESTARTS: Final = _RUNNER.counter(
    "vllm_batch_runner_engine_restarts_total",
    "Tries to start an engine again that died.",
    rise="The engine crashes, runs out of memory or hangs; the runner's log has its last words.",
)
ENGINE_UP: Final = _RUNNER.gauge(
    "vllm_batch_runner_engine_up",
    "1 while the engine serves.",
    rise="It serves. 0 for long: it loads its model, or does not start.",
)
ENGINE_DEATHS: Final = _RUNNER.counter(
    "vllm_batch_runner_engine_deaths_total",
    "Ends of the engine that nobody asked for.",
    rise="It crashes, runs out of memory or answers nothing any more; its last words are in the "
    "runner's log.",
    labels={"cause": "`engine_crashed`, `engine_out_of_memory` or `engine_hung`"},
)
ENGINE_WAITING: Final = _RUNNER.gauge(
    "vllm_batch_runner_engine_waiting_requests",
    "Requests queued inside the engine, as it says.",
    rise="The window is larger than what the engine computes at a time.",
)
ENGINE_RUNNING: Final = _RUNNER.gauge(
    "vllm_batch_runner_engine_running_requests",
    "Requests the engine computes, as it says.",
    rise="It is busier.",
)
ENGINE_CACHE: Final = _RUNNER.gauge(
    "vllm_batch_runner_engine_kv_cache_usage_ratio",
    "Share of its KV cache in use, as it says: 0 to 1.",
    rise="At 1 it puts requests off, and computes some of them again.",
)
MEMORY_STEPS: Final = _RUNNER.gauge(
    "vllm_batch_runner_memory_steps",
    "Steps by which the engine's memory settings are down since it ran out of memory.",
    rise="It ran out again, and now gets fewer sequences, tokens or less length.",
)
CONVICTED: Final = _RUNNER.counter(
    "vllm_batch_runner_requests_convicted_total",
    "Requests given up because the engine ended whenever it ran them.",
    rise="Inputs hold requests that the engine cannot survive; their lines in the error file carry "
    "the code.",
    labels={**BY_MODEL, "code": "`engine_crashed`, `engine_out_of_memory` or `engine_hung`"},
)
IN_FLIGHT: Final = _RUNNER.gauge(
    "vllm_batch_runner_in_flight_requests",
    "Requests at the engine.",
    rise="More work. Much below the window while chunks are held: the feeding does not keep up.",
)
WINDOW: Final = _RUNNER.gauge(
    "vllm_batch_runner_window_requests",
    "Requests that may be at the engine.",
    rise="The engine takes more. It falls when the engine runs out of memory or its GPU is unwell.",
)
CHUNKS_HELD: Final = _RUNNER.gauge(
    "vllm_batch_runner_held_chunks",
    "Chunks in this runner's hands.",
    rise="0 with work released for its models: the runner does not take it.",
)


def begin(models: Sequence[str]) -> None:
    """What is to be seen of a runner of these models before anything happens."""
    causes = [cause.value for cause in Cause]
    begin_at_0(REQUESTS, models, ("completed", "failed"))
    begin_at_0(TOKENS, models, ("input", "cached", "output", "reasoning"))
    begin_at_0(REDONE, models, ("engine_died", "redelivered"))
    begin_at_0(CONVICTED, models, causes)
    begin_at_0(ENGINE_DEATHS, causes)
    for counter in (RETRIES, RESUMED, REDELIVERIES):
        begin_at_0(counter, models)
