"""Deliveries of ended batches."""

from typing import Final

from monitoring_files.dashboard import Dashboard, Row, line, number, quantiles

_S: Final = '{sink=~"$sink"}'
_RATE: Final = "[$__rate_interval]"

_NOW: Final = Row(
    "Now",
    (
        number(
            "Pending",
            f"sum(max by (sink) (vllm_batch_deliveries_pending{_S}))",
            width=6,
        ),
        number(
            "Age of the oldest",
            f"max(vllm_batch_delivery_oldest_pending_seconds{_S})",
            unit="s",
            width=6,
        ),
        number(
            "Given up",
            f"sum(max by (sink) (vllm_batch_deliveries_given_up{_S}))",
            width=6,
        ),
        number(
            "Made in the last day",
            'sum(increase(vllm_batch_sinks_deliveries_total{sink=~"$sink", '
            'outcome="delivered"}[1d]))',
            width=6,
        ),
    ),
)
_FLOW: Final = Row(
    "Deliveries",
    (
        line("Pending", f"max by (sink) (vllm_batch_deliveries_pending{_S})", "{{sink}}"),
        line(
            "Age of the oldest",
            f"max by (sink) (vllm_batch_delivery_oldest_pending_seconds{_S})",
            "{{sink}}",
            unit="s",
        ),
        line("Given up", f"max by (sink) (vllm_batch_deliveries_given_up{_S})", "{{sink}}"),
        line(
            "Attempts by how they ended",
            f"sum by (sink, outcome) (increase(vllm_batch_sinks_deliveries_total{_S}{_RATE}))",
            "{{sink}} {{outcome}}",
        ),
        quantiles("Time of one attempt", "vllm_batch_sinks_delivery_seconds", ("sink",), _S),
        quantiles(
            "From a batch's end to its delivery",
            "vllm_batch_sinks_delivery_lag_seconds",
            ("sink",),
            _S,
        ),
    ),
)
_CONTENT: Final = Row(
    "Webhooks and answers",
    (
        line(
            "Webhooks by what came back",
            f"sum by (outcome) (increase(vllm_batch_sinks_webhook_posts_total{_RATE}))",
            "{{outcome}}",
            width=12,
        ),
        line(
            "Answers held against task schemas",
            f"sum by (schema, outcome) (increase(vllm_batch_sinks_answers_total{_RATE}))",
            "{{schema}} {{outcome}}",
            width=12,
            about="Invalid: the model does not keep to the schema, or answers are cut off.",
        ),
    ),
)

SINKS: Final = Dashboard(
    uid="vllm-batch-sinks",
    title="vllm-batch-server: sinks",
    variables=(("sink", "label_values(vllm_batch_deliveries_pending, sink)"),),
    rows=(_NOW, _FLOW, _CONTENT),
)
