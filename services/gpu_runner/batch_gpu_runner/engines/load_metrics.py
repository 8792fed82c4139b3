"""Reading an engine's load from its Prometheus text."""

import re

import msgspec

from batch_gpu_runner.engines.base import (
    EngineConnectionError,
    EngineLoad,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.client import EngineClient

METRICS_TIMEOUT_S = 2.0


class LoadNames(msgspec.Struct, frozen=True):
    """How one kind of engine calls its gauges; None for what it does not measure.

    kv_cache_usage: several names in order of preference, since vLLM renamed it
    """

    waiting: str | None
    running: str | None
    kv_cache_usage: tuple[str, ...] = ()


VLLM = LoadNames(
    "vllm:num_requests_waiting",
    "vllm:num_requests_running",
    ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
)
LLAMACPP = LoadNames("llamacpp:requests_deferred", "llamacpp:requests_processing")


async def read_load(client: EngineClient, names: LoadNames) -> EngineLoad | None:
    """Ask /metrics; None when it does not answer within METRICS_TIMEOUT_S or holds no gauge."""
    try:
        answer = await client.get("/metrics", METRICS_TIMEOUT_S)
    except (EngineConnectionError, EngineTimeoutError):
        return None
    if answer.status != 200:
        return None
    return parse_load(answer.body.decode("utf-8", "replace"), names)


def parse_load(text: str, names: LoadNames) -> EngineLoad | None:
    """Counts are summed over data-parallel engines, of the cache usage the fullest is taken.

    None when the text holds none of the gauges.
    """
    waiting, running = _values(text, names.waiting), _values(text, names.running)
    usage = next((found for name in names.kv_cache_usage if (found := _values(text, name))), [])
    if not (waiting or running or usage):
        return None
    return EngineLoad(
        waiting=int(sum(waiting)) if waiting else None,
        running=int(sum(running)) if running else None,
        kv_cache_usage=max(usage, default=None),
    )


def _values(text: str, name: str | None) -> list[float]:
    if name is None or name not in text:
        return []
    sample = re.compile(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)", re.MULTILINE)
    return [float(value) for value in sample.findall(text)]
