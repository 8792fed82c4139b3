"""The files in monitoring/ are current, and name only what is there."""

import json
import re
from pathlib import Path

import pytest

import metrics_page
from batch_common.metrics import About
from monitoring_files.alerts import alerts
from monitoring_files.files import DASHBOARDS, FOLDER, contents
from monitoring_files.rules import RUNBOOK, records
from monitoring_files.times import Times

ROOT = Path(__file__).parents[3]
TIMES = Times()
RECORDS = records(TIMES)
ALERTS = alerts(TIMES)
_METRIC = re.compile(r"\b(vllm_batch_[a-z0-9_]+)(?:\{([^}]*)\})?")
_RECORD = re.compile(r"\bvllm_batch:[a-z0-9_]+")
_GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
# Prometheus's own, of the scraping.
_ALWAYS = {"job", "instance", "le"}


def queries() -> list[tuple[str, str]]:
    return [
        *((record.name, record.expr) for record in RECORDS),
        *((alert.name, alert.expr) for alert in ALERTS),
        *((name, expr) for name, each in DASHBOARDS.items() for expr in each.queries()),
    ]


def metrics_in(expr: str) -> list[tuple[About, str]]:
    """Each metric of the query with its matchers; a name that is not declared fails."""
    series = {}
    for about in metrics_page.all_metrics():
        endings = ("_bucket", "_sum", "_count") if about.kind == "histogram" else ("",)
        series |= {about.name + ending: about for ending in endings}
    return [(series[name], matchers or "") for name, matchers in _METRIC.findall(expr)]


@pytest.mark.parametrize("name", sorted(contents()))
def test_each_file_is_the_generated_one(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == contents()[name]


def test_nothing_generated_is_left_that_is_made_no_more() -> None:
    by_hand = {"README.md", "rules_test.yml"}
    there = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*") if file.is_file()}
    assert there == contents().keys() | by_hand


@pytest.mark.parametrize(("name", "expr"), queries())
def test_queries_name_metrics_and_labels_that_there_are(name: str, expr: str) -> None:
    found = metrics_in(expr)
    known = {record.name for record in RECORDS}
    assert found or _RECORD.search(expr) or "ALERTS" in expr or "up{" in expr or "process_" in expr
    assert set(_RECORD.findall(expr)) <= known
    for about, matchers in found:
        labels = {part.split("=")[0].strip(" !~") for part in matchers.split(",") if "=" in part}
        assert labels <= about.labels.keys() | _ALWAYS
    if found:
        there = set().union(*(about.labels for about, _ in found)) | _ALWAYS
        for group in _GROUPING.findall(expr):
            assert {label.strip() for label in group.split(",")} <= there | {"model"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_has_its_section_and_its_unit_test(alert: object) -> None:
    page, _, anchor = alert.runbook.partition("#")
    assert page == RUNBOOK
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    assert f"- name: {alert.name}\n" in (FOLDER / "rules_test.yml").read_text("utf-8")


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    page = (ROOT / RUNBOOK).read_text("utf-8")
    headings = re.findall(r"^### (VllmBatch\w+)$", page, re.MULTILINE)
    assert headings == [alert.name for alert in ALERTS]


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_dashboards_are_whole(name: str) -> None:
    """Ids are different, panels lie beside one another, every query has its source."""
    dashboard = json.loads(contents()[f"grafana/dashboards/{name}.json"])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used <= variables
    assert [target["refId"] for panel in panels for target in panel.get("targets", [])]
    assert all(panel["targets"] for panel in panels if panel["type"] != "row")


def test_every_metric_is_charted_or_alerted_on() -> None:
    shown = {about.name for _, expr in queries() for about, _ in metrics_in(expr)}
    assert {about.name for about in metrics_page.all_metrics()} - shown == set()


def test_times_are_written_as_promql_reads_them() -> None:
    assert [TIMES.wait(s) for s in (60, 90, 300, 3600)] == ["1m", "90s", "5m", "1h"]
    quick = Times(quicker=60, least_look_s=15)
    assert [quick.look(s) for s in (300, 1800, 3600)] == ["15s", "30s", "1m"]
    assert [quick.wait(s) for s in (30, 300)] == ["1s", "5s"]
    assert quick.number(90) == "1.5"
