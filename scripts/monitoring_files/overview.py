"""The first look: is work done, in time, and does everything under it stand?"""

from typing import Final

from monitoring_files.dashboard import Dashboard, Panel, Query, Row, line, number, quantiles

_M: Final = '{model=~"$model"}'
_RATE: Final = "[$__rate_interval]"

_NOW: Final = Row(
    "Now",
    (
        number("Batches in progress", 'max(vllm_batch_batches{status="in_progress"})'),
        number("Requests left", "sum(vllm_batch:backlog_requests)"),
        number("Time they take", "max(vllm_batch:backlog_seconds) or vector(0)", unit="s"),
        number("Requests a second", "sum(vllm_batch:requests_per_second)", unit="reqps"),
        number(
            "Tokens written a second",
            'sum(vllm_batch:tokens_per_second{kind="output"})',
        ),
        number("Runners", "sum(max by (model) (vllm_batch_model_runners))"),
        number("Schedulers with the lease", "sum(vllm_batch_scheduler_lease_held)"),
        number(
            "Alerts",
            'count(ALERTS{alertname=~"VllmBatch.+", alertstate="firing"}) or vector(0)',
        ),
    ),
)
_WORK: Final = Row(
    "Work",
    (
        line(
            "Batches that have not ended",
            "max by (status) (vllm_batch_batches)",
            "{{status}}",
            stacked=True,
        ),
        line(
            "Batches by where they moved, an hour",
            "sum by (status) (rate(vllm_batch_batch_moves_total[$__rate_interval])) * 3600",
            "{{status}}",
        ),
        Panel(
            title="Requests without a result",
            queries=(
                Query(f"max by (model) (vllm_batch_pending_requests{_M})", "{{model}} pending"),
                Query(f"max by (model) (vllm_batch_released_requests{_M})", "{{model}} released"),
            ),
            stacked=True,
            about="Pending: in no chunk yet. Released: in a chunk, at a runner or before one.",
        ),
        line(
            "Deadline margin",
            f"min by (model) (vllm_batch_deadline_margin_seconds{_M})",
            "{{model}}",
            unit="s",
            floor=None,
            about="What is left of the tightest window once its batch is done. Below 0: too late.",
        ),
        line(
            "Time the backlog takes",
            f"vllm_batch:backlog_seconds{_M}",
            "{{model}}",
            unit="s",
        ),
        quantiles("Time from creation to end", "vllm_batch_batch_seconds", ("status",)),
        quantiles("Chunks: wait for a runner", "vllm_batch_chunk_wait_seconds", ("model",), _M),
        quantiles("Chunks: release to commit", "vllm_batch_chunk_seconds", ("model",), _M),
        line(
            "Pending tokens",
            f"max by (model) (vllm_batch_pending_tokens{_M})",
            "{{model}}",
        ),
    ),
)
_RESULTS: Final = Row(
    "Results",
    (
        line(
            "Requests a second",
            f"sum by (model, outcome) (rate(vllm_batch_requests_total{_M}{_RATE}))",
            "{{model}} {{outcome}}",
            unit="reqps",
            stacked=True,
            about="With their final result, each exactly once.",
        ),
        line(
            "Tokens a second",
            f"sum by (model, kind) (rate(vllm_batch_tokens_total{_M}{_RATE}))",
            "{{model}} {{kind}}",
            about="cached is a part of input, reasoning of output.",
        ),
        line(
            "Share of requests that fail",
            f"vllm_batch:failed_requests_ratio{_M}",
            "{{model}}",
            unit="percentunit",
        ),
    ),
)
_API: Final = Row(
    "API",
    (
        line(
            "Answers a second",
            f"sum by (status) (rate(vllm_batch_gateway_requests_total{_RATE}))",
            "{{status}}",
            unit="reqps",
            stacked=True,
        ),
        quantiles("Time to answer", "vllm_batch_gateway_request_seconds", ("route",)),
        line(
            "Share of 5xx answers", "vllm_batch:api_errors_ratio or vector(0)", unit="percentunit"
        ),
        line(
            "Uploads",
            f"sum(rate(vllm_batch_gateway_upload_bytes_total{_RATE}))",
            unit="Bps",
        ),
        line("Open streams", "sum by (kind) (vllm_batch_gateway_open_streams)", "{{kind}}"),
        quantiles("Validation", "vllm_batch_scheduler_validation_seconds"),
    ),
)
_UNDER: Final = Row(
    "Underneath",
    (
        line("Outbox: age of the oldest event", "max(vllm_batch_outbox_lag_seconds)", unit="s"),
        Panel(
            title="Outbox: events",
            queries=(
                Query("max(vllm_batch_outbox_unsent_events)", "waiting"),
                Query(
                    f"sum by (stream) (rate(vllm_batch_outbox_sent_events_total{_RATE}))",
                    "{{stream}} a second",
                ),
            ),
        ),
        Panel(
            title="NATS",
            queries=(
                Query("min by (job) (vllm_batch_nats_connected)", "{{job}} connected"),
                Query(
                    f"sum by (job) (increase(vllm_batch_nats_reconnects_total{_RATE}))",
                    "{{job}} reconnects",
                ),
            ),
        ),
        quantiles("Database: one write", "vllm_batch_database_write_seconds", ("job",)),
        quantiles("Event loops: lag", "vllm_batch_event_loop_lag_seconds", ("job",)),
        line(
            "Rounds of work that failed",
            f"sum by (job, work) (increase(vllm_batch_work_failures_total{_RATE}))",
            "{{job}} {{work}}",
        ),
        line(
            "Chunks put right",
            f"sum by (how) (increase(vllm_batch_chunk_repairs_total{_RATE}))",
            "{{how}}",
        ),
        line(
            "Claims a second",
            f"sum by (answer) (rate(vllm_batch_scheduler_claims_total{_RATE}))",
            "{{answer}}",
        ),
        Panel(
            title="Chunks",
            queries=(
                Query(
                    f"sum by (event) (rate(vllm_batch_chunks_total{_M}{_RATE}))",
                    "{{event}} a second",
                ),
                Query(f"sum(max by (model) (vllm_batch_released_chunks{_M}))", "outstanding"),
            ),
        ),
        line(
            "Orphans collected",
            f"sum(increase(vllm_batch_scheduler_orphans_total{_RATE})) or vector(0)",
        ),
        line(
            "CPU",
            f'sum by (job) (rate(process_cpu_seconds_total{{job=~"vllm-batch-.+"}}{_RATE}))',
            "{{job}}",
            about="The services' own; engines are processes beside them.",
        ),
        line(
            "Memory",
            'sum by (job) (process_resident_memory_bytes{job=~"vllm-batch-.+"})',
            "{{job}}",
            unit="bytes",
        ),
        Panel(
            title="What runs",
            queries=(Query("vllm_batch_build_info", ""),),
            kind="table",
            width=24,
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    uid="vllm-batch-overview",
    title="vllm-batch-server: overview",
    variables=(("model", "label_values(vllm_batch_released_requests, model)"),),
    rows=(_NOW, _WORK, _RESULTS, _API, _UNDER),
)
