"""The generated files of monitoring/, by name."""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from monitoring_files import grafana, scrape
from monitoring_files.alerts import alerts
from monitoring_files.dashboard import Dashboard, as_grafana_reads_it
from monitoring_files.overview import OVERVIEW
from monitoring_files.rules import alert_rules, recording_rules
from monitoring_files.runners import RUNNERS
from monitoring_files.sinks import SINKS
from monitoring_files.times import Times

FOLDER: Final = Path(__file__).parents[2] / "monitoring"
DASHBOARDS: Final[dict[str, Dashboard]] = {
    "overview": OVERVIEW,
    "runners": RUNNERS,
    "sinks": SINKS,
}
_HEAD: Final = "# Made by scripts/monitoring_files: change it there, then `make generated`.\n"


def contents() -> dict[str, str]:
    """What each file holds."""
    return {
        "prometheus.yml": _yaml(scrape.from_files()),
        "prometheus.compose.yml": _yaml(scrape.from_names()),
        "grafana/provisioning/datasources/prometheus.yml": _yaml(grafana.datasource()),
        "grafana/provisioning/dashboards/vllm-batch.yml": _yaml(grafana.provider()),
        "targets/up.json": _json(scrape.one_machine()),
        **rule_files(Times()),
        **{
            f"grafana/dashboards/{name}.json": _json(as_grafana_reads_it(dashboard))
            for name, dashboard in DASHBOARDS.items()
        },
    }


def rule_files(times: Times) -> dict[str, str]:
    """The rules alone, with these times."""
    return {
        "rules/recording.yml": _yaml(recording_rules(times)),
        "rules/alerts.yml": _yaml(alert_rules(alerts(times), times)),
    }


def _yaml(content: dict[str, Any]) -> str:
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"
