"""A dashboard as values, and as Grafana's JSON. Pure.

The model is Grafana's of schema version 39 (Grafana 10.4 and newer read it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 39
WIDTH = 24  # columns of Grafana's grid
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL; `$cluster` is the lab. `legend` is Grafana's: `{{node}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` is one of Grafana's: short, percentunit, bytes, Bps, s, ops, reqps."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    help: str = ""
    stacked: bool = False
    # Value, and the colour from there on.
    thresholds: tuple[tuple[float, str], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        return {"stat": (4, 4), "table": (12, 8)}.get(self.kind, (8, 8))


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: drawn over every panel where `expr` has a sample."""

    name: str
    expr: str
    text: str
    colour: str


# What happens to a lab shows by itself: nothing has to write it down.
MARKS = (
    Mark(
        "alerts",
        'ALERTS{alertstate="firing",cluster="$cluster",severity=~"warning|critical"}',
        "{{alertname}} {{node}}{{instance}}",
        "orange",
    ),
    Mark(
        "nodes lost",
        'kube_node_status_condition{cluster="$cluster",condition="Ready",status="true"} == 0',
        "{{node}} is not Ready",
        "red",
    ),
    Mark(
        "leader changes",
        'changes(etcd_server_leader_changes_seen_total{cluster="$cluster"}[1m]) > 0',
        "the store has a new leader",
        "purple",
    ),
)


@dataclass(frozen=True, slots=True)
class Board:
    """`uid` is its place: an export replaces what it exported before."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = field(default=MARKS)

    def queries(self) -> Iterator[tuple[str, str]]:
        """Each panel's title and each of its queries."""
        for row in self.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield f"{self.title} / {panel.title}", query.expr

    def document(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["muster"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,  # the same moment on all panels
            "timezone": "browser",
            "refresh": "15s",
            "time": {"from": "now-30m", "to": "now"},
            "templating": {"list": [_datasource(), _cluster()]},
            "annotations": {"list": [_annotation(mark) for mark in self.marks]},
            "links": [_link()],
            "panels": list(_panels(self.rows)),
        }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }


def _cluster() -> dict[str, Any]:
    query = 'label_values(up{job="apiserver"}, cluster)'
    return {
        "name": "cluster",
        "type": "query",
        "label": "Lab",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": "cluster"},
        "definition": query,
        "refresh": 2,  # when the time range changes
        "sort": 1,
    }


def _annotation(mark: Mark) -> dict[str, Any]:
    return {
        "name": mark.name,
        "datasource": _DATASOURCE,
        "enable": True,
        "expr": mark.expr,
        "textFormat": mark.text,
        "iconColor": mark.colour,
        "step": "15s",
    }


def _link() -> dict[str, Any]:
    return {
        "title": "Muster",
        "type": "dashboards",
        "tags": ["muster"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Left to right, top to bottom; a row of Grafana's is a panel too."""
    number, top = 1, 0
    for row in rows:
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            width, tall = panel.size
            if left + width > WIDTH:
                left, top, height = 0, top + height, 0
            place = {"x": left, "y": top, "w": width, "h": tall}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            number, left, height = number + 1, left + width, max(height, tall)
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATASOURCE,
        "targets": [
            _target(query, letter, panel.kind)
            for query, letter in zip(panel.queries, "ABCDEFGH", strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(query: Query, letter: str, kind: str) -> dict[str, Any]:
    now = kind in ("stat", "table")
    return {
        "refId": letter,
        "datasource": _DATASOURCE,
        "expr": " ".join(query.expr.split()),
        "legendFormat": query.legend or "__auto",
        "instant": now,
        "range": not now,
        **({"format": "table"} if kind == "table" else {}),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": "green"}]
    steps += [{"value": value, "color": colour} for value, colour in panel.thresholds]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        drawn = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        stacking = {"stacking": {"mode": "normal" if panel.stacked else "none"}}
        defaults |= {"min": 0, "custom": drawn | stacking}
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    if panel.kind == "table":
        return {"showHeader": True}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
