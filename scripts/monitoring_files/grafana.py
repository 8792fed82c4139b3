"""What Grafana is given at its start: where Prometheus is, and where the dashboards are."""

from typing import Any


def datasource() -> dict[str, Any]:
    """PROMETHEUS_URL: as Grafana reaches it."""
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "uid": "vllm-batch-prometheus",
                "type": "prometheus",
                "access": "proxy",
                "url": "$PROMETHEUS_URL",
                "isDefault": True,
                "jsonData": {"timeInterval": "15s", "httpMethod": "POST"},
            }
        ],
    }


def provider() -> dict[str, Any]:
    """VLLM_BATCH_DASHBOARDS: the folder that holds them."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "vllm-batch-server",
                "folder": "vllm-batch-server",
                "type": "file",
                "allowUiUpdates": False,
                "options": {"path": "$VLLM_BATCH_DASHBOARDS"},
            }
        ],
    }
