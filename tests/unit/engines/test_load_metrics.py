"""Reading gauges out of Prometheus text."""

from batch_gpu_runner.engines.base import EngineLoad
from batch_gpu_runner.engines.load_metrics import LLAMACPP, VLLM, parse_load

TEXT = """\
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a b"} 3.0
vllm:num_requests_waiting{engine="1",model_name="a b"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 100.0
vllm:num_requests_running{engine="0"} 8.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
"""


def test_engines_are_added_up_and_the_fullest_cache_counts() -> None:
    assert parse_load(TEXT, VLLM) == EngineLoad(waiting=7, running=8, kv_cache_usage=0.5)


def test_the_older_name_of_the_cache_usage_is_known() -> None:
    assert parse_load("vllm:gpu_cache_usage_perc 0.75\n", VLLM) == EngineLoad(kv_cache_usage=0.75)


def test_llama_cpp_has_no_cache_usage() -> None:
    text = "llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n"
    assert parse_load(text, LLAMACPP) == EngineLoad(waiting=5, running=2)


def test_a_page_without_gauges_is_no_load() -> None:
    assert parse_load("<html>", VLLM) is None
