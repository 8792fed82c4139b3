"""Runners, their engines and their GPUs."""

from typing import Final

from monitoring_files.dashboard import Dashboard, Panel, Query, Row, line, quantiles

_I: Final = '{instance=~"$runner"}'
_RATE: Final = "[$__rate_interval]"

_LOAD: Final = Row(
    "Runners",
    (
        line(
            "Runners by model",
            "max by (model) (vllm_batch_model_runners)",
            "{{model}}",
            stacked=True,
        ),
        line("Engine serves", f"vllm_batch_runner_engine_up{_I}", "{{instance}}"),
        line(
            "Measured rate",
            "max by (model) (vllm_batch_model_requests_per_second)",
            "{{model}}",
            unit="reqps",
        ),
        line(
            "Requests a second",
            "sum by (instance, model, outcome) "
            f"(rate(vllm_batch_runner_requests_total{_I}{_RATE}))",
            "{{instance}} {{model}} {{outcome}}",
            unit="reqps",
            stacked=True,
        ),
        line(
            "Tokens a second",
            f"sum by (instance, kind) (rate(vllm_batch_runner_tokens_total{_I}{_RATE}))",
            "{{instance}} {{kind}}",
        ),
        Panel(
            title="Window",
            queries=(
                Query(f"vllm_batch_runner_window_requests{_I}", "{{instance}} window"),
                Query(f"vllm_batch_runner_in_flight_requests{_I}", "{{instance}} in flight"),
            ),
            about="Requests that may be at the engine, and that are.",
        ),
        Panel(
            title="In the engine, as it says",
            queries=(
                Query(f"vllm_batch_runner_engine_running_requests{_I}", "{{instance}} running"),
                Query(f"vllm_batch_runner_engine_waiting_requests{_I}", "{{instance}} waiting"),
            ),
        ),
        line(
            "KV cache in use",
            f"vllm_batch_runner_engine_kv_cache_usage_ratio{_I}",
            "{{instance}}",
            unit="percentunit",
        ),
        line("Chunks held", f"vllm_batch_runner_held_chunks{_I}", "{{instance}}"),
        quantiles(
            "Chunk: delivery to completion", "vllm_batch_runner_chunk_seconds", ("model",), _I
        ),
        line(
            "Chunks by ending, an hour",
            f"sum by (ending) (rate(vllm_batch_runner_chunks_total{_I}{_RATE})) * 3600",
            "{{ending}}",
        ),
        quantiles("Saving a segment", "vllm_batch_runner_flush_seconds", ("instance",), _I),
    ),
)
_TROUBLE: Final = Row(
    "Trouble",
    (
        Panel(
            title="Engine: ends and starts",
            queries=(
                Query(
                    f"sum by (instance, cause) (increase(vllm_batch_runner_engine_deaths_total{_I}"
                    f"{_RATE}))",
                    "{{instance}} {{cause}}",
                ),
                Query(
                    f"sum by (instance) (increase(vllm_batch_runner_engine_restarts_total{_I}"
                    f"{_RATE}))",
                    "{{instance}} started again",
                ),
            ),
        ),
        line("Memory settings stepped down", f"vllm_batch_runner_memory_steps{_I}", "{{instance}}"),
        line(
            "Results not saved at once",
            f"sum by (instance) (increase(vllm_batch_runner_flush_failures_total{_I}{_RATE}))",
            "{{instance}}",
        ),
        Panel(
            title="Requests sent again",
            queries=(
                Query(
                    f"sum by (model) (increase(vllm_batch_runner_retries_total{_I}{_RATE}))",
                    "{{model}} after an error",
                ),
                Query(
                    "sum by (model, reason) "
                    f"(increase(vllm_batch_runner_requests_redone_total{_I}{_RATE}))",
                    "{{model}} {{reason}}",
                ),
            ),
        ),
        Panel(
            title="Chunks delivered again, requests not sent again",
            queries=(
                Query(
                    f"sum by (model) (increase(vllm_batch_runner_redeliveries_total{_I}{_RATE}))",
                    "{{model}} chunks",
                ),
                Query(
                    "sum by (model) "
                    f"(increase(vllm_batch_runner_requests_resumed_total{_I}{_RATE}))",
                    "{{model}} requests with a result",
                ),
            ),
        ),
        line(
            "Requests that kill the engine",
            "sum by (model, code) "
            f"(increase(vllm_batch_runner_requests_convicted_total{_I}{_RATE}))",
            "{{model}} {{code}}",
        ),
    ),
)
_GPU: Final = "{{instance}} GPU {{gpu}}"
_GPUS: Final = Row(
    "GPUs",
    (
        line(
            "Health",
            f"vllm_batch_gpu_health{_I}",
            _GPU,
            about="0 healthy, 1 degraded, 2 critical.",
        ),
        line("Computing", f"vllm_batch_gpu_utilization_ratio{_I}", _GPU, unit="percentunit"),
        Panel(
            title="Memory",
            queries=(
                Query(f"vllm_batch_gpu_memory_used_bytes{_I}", f"{_GPU} used"),
                Query(f"vllm_batch_gpu_memory_total_bytes{_I}", f"{_GPU} of"),
            ),
            unit="bytes",
        ),
        line("Temperature", f"vllm_batch_gpu_temperature_celsius{_I}", _GPU, unit="celsius"),
        Panel(
            title="Power",
            queries=(
                Query(f"vllm_batch_gpu_power_watts{_I}", _GPU),
                Query(f"vllm_batch_gpu_power_limit_watts{_I}", f"{_GPU} limit"),
            ),
            unit="watt",
        ),
        Panel(
            title="Clocks",
            queries=(
                Query(f"vllm_batch_gpu_sm_clock_hertz{_I}", f"{_GPU} processors"),
                Query(f"vllm_batch_gpu_memory_clock_hertz{_I}", f"{_GPU} memory"),
            ),
            unit="hertz",
        ),
        line("Held down by", f"vllm_batch_gpu_throttled{_I}", f"{_GPU} {{{{reason}}}}"),
        line("Memory errors", f"vllm_batch_gpu_ecc_errors{_I}", f"{_GPU} {{{{kind}}}}"),
        line(
            "Xid errors",
            f"sum by (instance, gpu, xid) (increase(vllm_batch_gpu_xid_errors_total{_I}{_RATE}))",
            f"{_GPU} Xid {{{{xid}}}}",
        ),
        Panel(
            title="What they are",
            queries=(Query(f"vllm_batch_gpu_info{_I}", ""),),
            kind="table",
            width=24,
        ),
    ),
)

RUNNERS: Final = Dashboard(
    uid="vllm-batch-runners",
    title="vllm-batch-server: runners and GPUs",
    variables=(("runner", "label_values(vllm_batch_runner_engine_up, instance)"),),
    rows=(_LOAD, _TROUBLE, _GPUS),
)
