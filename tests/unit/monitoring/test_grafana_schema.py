"""Grafana's own types, which its makers generate from its schemas, know all that we write."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring_files.files import DASHBOARDS, contents

plugins.register_default_plugins()


def unknown(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """What does not come back as it was written."""
    match ours:
        case dict():
            known = theirs if isinstance(theirs, dict) else {}
            for key, value in ours.items():
                yield from unknown(value, known.get(key), f"{at}.{key}")
        case list():
            others = theirs if isinstance(theirs, list) else []
            if len(others) != len(ours):
                yield at
            for number, (one, other) in enumerate(zip(ours, others, strict=False)):
                yield from unknown(one, other, f"{at}[{number}]")
        case _ if ours != theirs:
            yield at


def read_by_grafana(dashboard: dict[str, Any]) -> dict[str, Any]:
    encoded = JSONEncoder().encode(Dashboard.from_json(dashboard))
    return json.loads(encoded)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_field_of_a_dashboard_is_one_of_grafanas(name: str) -> None:
    dashboard = json.loads(contents()[f"grafana/dashboards/{name}.json"])
    assert list(unknown(dashboard, read_by_grafana(dashboard))) == []


def test_a_field_that_grafana_does_not_know_is_found() -> None:
    dashboard = json.loads(contents()["grafana/dashboards/sinks.json"])
    panel = dashboard["panels"][-1]
    panel["targets"][0]["expression"] = panel["targets"][0].pop("expr")
    panel["fieldConfig"]["defaults"]["custom"]["linewidth"] = 1
    found = list(unknown(dashboard, read_by_grafana(dashboard)))
    last = len(dashboard["panels"]) - 1
    assert sorted(found) == [
        f".panels[{last}].fieldConfig.defaults.custom.linewidth",
        f".panels[{last}].targets[0].expression",
    ]
