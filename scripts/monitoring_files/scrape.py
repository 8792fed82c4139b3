"""Prometheus's own configuration: one for services found in files, one for Compose's network."""

from typing import Any, Final

_SERVICES: Final = ("gateway", "scheduler", "sinks", "runner")
_PORT: Final = 9464


def from_files() -> dict[str, Any]:
    """Targets in targets/*.json, read again whenever they change."""
    return _prometheus({"file_sd_configs": [{"files": ["targets/*.json"]}]})


def from_names() -> dict[str, Any]:
    """Every replica behind the name of each service."""
    return _prometheus(
        {
            "dns_sd_configs": [
                {
                    "names": list(_SERVICES),
                    "type": "A",
                    "port": _PORT,
                    "refresh_interval": "15s",
                }
            ],
            "relabel_configs": [
                {
                    "source_labels": ["__meta_dns_name"],
                    "target_label": "job",
                    "replacement": "vllm-batch-$1",
                }
            ],
        }
    )


def one_machine() -> list[dict[str, Any]]:
    """The targets of `vllm-batch up --metrics-port 9464` with one runner."""
    ports = {"scheduler": 0, "gateway": 1, "sinks": 2, "runner": 3}
    return [
        {
            "targets": [f"127.0.0.1:{_PORT + number}"],
            "labels": {"job": f"vllm-batch-{name}"},
        }
        for name, number in ports.items()
    ]


def _prometheus(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [{"job_name": "vllm-batch", **found}],
    }
