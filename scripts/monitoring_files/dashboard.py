"""Dashboards as data, and as Grafana reads them."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final, Literal

import msgspec

_WIDTH: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_ALL: Final = ".*"


class Query(msgspec.Struct, frozen=True):
    """legend: may hold labels, as `{{model}}`."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """unit: in Grafana's names; width: of 24; floor: where the scale begins, None: at the data."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    floor: int | None = 0
    about: str = ""


class Row(msgspec.Struct, frozen=True):
    title: str
    panels: tuple[Panel, ...]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """variables: name and the query of its values."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def queries(self) -> Iterator[str]:
        """Every query, those of the variables' values aside."""
        for row in self.rows:
            for panel in row.panels:
                yield from (query.expr for query in panel.queries)


def line(title: str, expr: str, legend: str = "", **more: Any) -> Panel:
    """A panel of one query."""
    return Panel(title=title, queries=(Query(expr, legend),), **more)


def number(title: str, expr: str, **more: Any) -> Panel:
    """One figure, as it is now."""
    return line(title, expr, kind="stat", width=more.pop("width", 3), height=4, **more)


def quantiles(
    title: str, metric: str, by: Sequence[str] = (), where: str = "", **more: Any
) -> Panel:
    """Half and 95 % of a histogram's values, within what Grafana takes for a moment."""
    rate = f"sum by ({', '.join((*by, 'le'))}) (rate({metric}_bucket{where}[$__rate_interval]))"
    names = " ".join(f"{{{{{label}}}}}" for label in by)
    queries = tuple(
        Query(f"histogram_quantile({share}, {rate})", f"{names} {word}".strip())
        for share, word in ((0.5, "half"), (0.95, "95 %"))
    )
    return Panel(title=title, queries=queries, unit="s", **more)


def as_grafana_reads_it(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["vllm-batch-server"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "vllm-batch-server",
                "tags": ["vllm-batch-server"],
                "asDropdown": True,
            }
        ],
        "templating": {"list": [_source(), *(_variable(*each) for each in dashboard.variables)]},
        "panels": list(_panels(dashboard.rows)),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": _ALL,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    ids, y = count(1), 0
    for row in rows:
        yield {
            "id": next(ids),
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": y},
        }
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                x, y, height = 0, y + height, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield _panel(panel, next(ids), place)
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel, number_: int, place: dict[str, int]) -> dict[str, Any]:
    now = panel.kind != "timeseries"
    return {
        "id": number_,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": now,
                "range": not now,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for position, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": {"unit": panel.unit, **_style(panel)}, "overrides": []},
        "options": _options(panel),
    }


def _style(panel: Panel) -> dict[str, Any]:
    if panel.kind != "timeseries":
        return {}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    fill = 30 if panel.stacked else 5
    floor = {} if panel.floor is None else {"min": panel.floor}
    return {**floor, "custom": {"lineWidth": 1, "fillOpacity": fill, "stacking": stacking}}


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "stat":
            reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}
        case "table":
            return {"showHeader": True}
