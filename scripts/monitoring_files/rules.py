"""Recording rules, and both kinds of rules as Prometheus reads them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from monitoring_files.times import Times

RUNBOOK: Final = "docs/OPERATIONS.md"


class Record(msgspec.Struct, frozen=True):
    """A series that Prometheus computes beforehand."""

    name: str
    expr: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Fires when `expr` has had a value for `for_s`.

    severity: critical: somebody is to look at once; warning: within the day
    summary: what is the matter, `description`: what follows from it; both may hold templates
    """

    name: str
    severity: str
    expr: str
    for_s: int
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.name.lower()}"


def records(times: Times) -> tuple[Record, ...]:
    recent, longer = times.look(300), times.look(900)
    return (
        Record(
            "vllm_batch:backlog_requests",
            "max by (model) (vllm_batch_pending_requests)"
            " + max by (model) (vllm_batch_released_requests)",
        ),
        Record(
            "vllm_batch:backlog_seconds",
            "vllm_batch:backlog_requests"
            " / (max by (model) (vllm_batch_model_requests_per_second) > 0)",
        ),
        Record(
            "vllm_batch:requests_per_second",
            f"sum by (model, outcome) (rate(vllm_batch_runner_requests_total[{recent}]))",
        ),
        Record(
            "vllm_batch:tokens_per_second",
            f"sum by (model, kind) (rate(vllm_batch_runner_tokens_total[{recent}]))",
        ),
        Record(
            "vllm_batch:failed_requests_ratio",
            "sum by (model) (rate(vllm_batch_runner_requests_total"
            f'{{outcome="failed"}}[{longer}]))'
            f" / (sum by (model) (rate(vllm_batch_runner_requests_total[{longer}])) > 0)",
        ),
        Record(
            "vllm_batch:api_errors_ratio",
            f'sum(rate(vllm_batch_gateway_requests_total{{status=~"5.."}}[{recent}]))'
            f" / (sum(rate(vllm_batch_gateway_requests_total[{recent}])) > 0)",
        ),
    )


def recording_rules(times: Times) -> dict[str, Any]:
    rules = [{"record": record.name, "expr": record.expr} for record in records(times)]
    return {"groups": [{"name": "vllm-batch-records", "rules": rules}]}


def alert_rules(alerts: Sequence[Alert], times: Times) -> dict[str, Any]:
    return {"groups": [{"name": "vllm-batch", "rules": [_rule(each, times) for each in alerts]}]}


def _rule(alert: Alert, times: Times) -> dict[str, Any]:
    waits = {"for": times.wait(alert.for_s)} if alert.for_s else {}
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **waits,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook,
        },
    }
