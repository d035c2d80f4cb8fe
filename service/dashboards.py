"""Writes the dashboards of `service.panels` as the JSON files that Grafana is provisioned with.

The files are committed, because Grafana reads them without Python; a test compares them with what this module writes.
Only what the panels need is set, the rest is Grafana's default. Alerts are Prometheus' business.

Run: `python -m service.dashboards docker/grafana/dashboards`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.panels import DASHBOARDS, Dashboard, Panel

_COLUMNS = 24
_STAT_HEIGHT, _HEIGHT = 5, 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION = 39


def write_dashboards(folder: Path) -> list[Path]:
    """Write one file per dashboard and return their paths. folder: must exist."""
    files = []
    for dashboard in DASHBOARDS:
        file = folder / f"{dashboard.uid}.json"
        file.write_text(render_dashboard(dashboard), "utf-8")
        files.append(file)
    return files


def render_dashboard(dashboard: Dashboard) -> str:
    """One dashboard as the text of its file."""
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["genrm"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _build_variables()},
        "panels": _place_panels(dashboard.panels),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _build_variables() -> list[dict[str, Any]]:
    instance = {
        "name": "instance",
        "label": "Replica",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": "label_values(genrm_ready, instance)", "refId": "instance"},
        "refresh": 2,  # whenever the time range changes, because replicas come and go
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
    return [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}, instance]


def _place_panels(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """The panels from left to right, in rows as high as their first panel."""
    placed: list[dict[str, Any]] = []
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + height
        if x == 0:
            height = _STAT_HEIGHT if panel.kind == "stat" else _HEIGHT
        position = {"x": x, "y": y, "w": panel.width, "h": height}
        placed.append({"id": number, "gridPos": position, **_render_panel(panel)})
        x += panel.width
    return placed


def _render_panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "format": "heatmap" if panel.kind == "heatmap" else "time_series",
            "instant": panel.kind == "stat",
            "range": panel.kind != "stat",
        }
        for index, query in enumerate(panel.queries)
    ]
    shown = {
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "targets": targets,
    }
    if panel.kind == "heatmap":
        options = {"calculate": False, "yAxis": {"axisPlacement": "left"}, "color": {"scheme": "Blues", "steps": 64}}
        return {"type": "heatmap", **shown, "options": options}
    if panel.kind == "stat":
        defaults: dict[str, Any] = {"unit": panel.unit, "color": {"mode": "fixed", "fixedColor": "text"}}
        return {"type": "stat", **shown, "fieldConfig": {"defaults": defaults, "overrides": []}}
    custom = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if panel.kind == "stacked" else {"fillOpacity": 0}
    defaults = {"unit": panel.unit, "min": 0, "custom": custom}
    options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]}}
    return {
        "type": "timeseries",
        **shown,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {**options, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def main(arguments: Sequence[str]) -> None:
    """Write the files into the folder that is named."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.exit("Name one folder that exists: python -m service.dashboards docker/grafana/dashboards")
    for file in write_dashboards(Path(arguments[0])):
        print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
