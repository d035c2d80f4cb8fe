"""Draws the dashboards without Grafana: the same files, the same queries, as one PNG per dashboard.

For a look at a machine where only Prometheus runs, and to see what a change of a query does. Legends, units and
stacking follow the panel; colours, thresholds and interaction are Grafana's and are not imitated. Heat maps show, as
Grafana does, what lies in each bucket, although Prometheus counts cumulatively.

Run: `python bench/plot_dashboards.py --prometheus http://localhost:9090 --minutes 15 --out plots`.
"""

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genrm.plots import use_style

FOLDER = Path(__file__).parents[1] / "docker" / "grafana" / "dashboards"
_COLUMNS = 24
_CELL_INCHES = 0.65
_TITLE_INCHES = 0.5


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is drawn. start, end: seconds since 1970. rate_interval: stands for Grafana's `$__rate_interval`."""

    start: float
    end: float
    step_seconds: float
    rate_interval: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series of a query, NaN where it has no value."""

    legend: str
    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


def substitute(expression: str, *, rate_interval: str, instance: str = ".*") -> str:
    """A dashboard's expression with Grafana's variables filled in, as Prometheus takes it."""
    return expression.replace("$__rate_interval", rate_interval).replace("$instance", instance)


def fill_legend(template: str, labels: Mapping[str, str]) -> str:
    """Grafana's `{{label}}` template with the values of a series."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match.group(1), ""), template)


def query_range(client: httpx.Client, target: Mapping[str, Any], window: Window) -> list[Line]:
    """The series of one panel's target. Raises httpx.HTTPStatusError if Prometheus does not take the expression."""
    parameters: dict[str, str | float] = {
        "query": substitute(target["expr"], rate_interval=window.rate_interval),
        "start": window.start,
        "end": window.end,
        "step": window.step_seconds,
    }
    answer = client.get("/api/v1/query_range", params=parameters).raise_for_status().json()
    return [
        Line(
            legend=fill_legend(target["legendFormat"], series["metric"]),
            labels=series["metric"],
            times=[moment for moment, _ in series["values"]],
            values=[float(value) for _, value in series["values"]],
        )
        for series in answer["data"]["result"]
    ]


def split_buckets(lines: Sequence[Line], times: Sequence[float]) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Upper bounds from low to high, and what lies in each bucket alone at each of `times`, shape (bounds, times)."""
    ordered = sorted(lines, key=lambda line: float(line.labels["le"]))
    cumulative = np.zeros((len(ordered), len(times)))
    for row, line in enumerate(ordered):
        values = dict(zip(line.times, line.values, strict=True))
        cumulative[row] = [values.get(moment, 0.0) for moment in times]
    return [line.labels["le"] for line in ordered], np.diff(cumulative, axis=0, prepend=0).clip(min=0)


def draw_panel(axes: Axes, panel: Mapping[str, Any], lines: Sequence[Line], window: Window) -> None:
    """One panel, its time axis in minutes before the end."""
    axes.set_title(panel["title"], fontsize=10, loc="left")
    axes.tick_params(labelsize=7)
    axes.set_xlim((window.start - window.end) / 60, 0)
    if not lines:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
        return
    times = sorted({moment for line in lines for moment in line.times})
    minutes = [(moment - window.end) / 60 for moment in times]
    if panel["type"] == "heatmap":
        bounds, counts = split_buckets(lines, times)
        axes.pcolormesh(minutes, range(len(bounds)), counts, cmap="Blues", shading="nearest")
        axes.set_yticks(range(len(bounds)), [f"≤ {bound}" for bound in bounds])
        return
    rows = []
    for line in lines:
        values = dict(zip(line.times, line.values, strict=True))
        rows.append([values.get(moment, float("nan")) for moment in times])
    legends = [line.legend for line in lines]
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking"):
        axes.stackplot(minutes, np.nan_to_num(np.array(rows)), labels=legends, alpha=0.7)
    else:
        for legend, row in zip(legends, rows, strict=True):
            axes.plot(minutes, row, label=legend, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(panel["fieldConfig"]["defaults"]["unit"], fontsize=7)
    axes.legend(fontsize=6, loc="upper left", framealpha=0.6)


def draw_dashboard(client: httpx.Client, dashboard: Mapping[str, Any], window: Window) -> Figure:
    """All panels at the places that the dashboard gives them."""
    panels = dashboard["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(_COLUMNS * _CELL_INCHES, height * _CELL_INCHES * 0.75 + _TITLE_INCHES))
    figure.suptitle(f"{dashboard['title']}: minutes before the end", fontsize=13)
    scale = 1 - _TITLE_INCHES / figure.get_figheight()
    for panel in panels:
        place = panel["gridPos"]
        # From the left and from below; what is left free holds the panel's title and the labels of its axes.
        left, bottom = place["x"] / _COLUMNS, (1 - (place["y"] + place["h"]) / height) * scale
        width, tall = place["w"] / _COLUMNS, place["h"] / height * scale
        margin = 1 / _COLUMNS
        axes = figure.add_axes((left + margin, bottom + tall * 0.12, width - margin * 1.3, tall * 0.7))
        lines = [line for target in panel["targets"] for line in query_range(client, target, window)]
        draw_panel(axes, panel, lines, window)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask Prometheus and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://localhost:9090", help="its URL")
    parser.add_argument("--minutes", type=float, default=15.0, help="how far back to look")
    parser.add_argument("--rate-interval", default="1m", help="at least four scrape intervals")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.time()
    seconds = options.minutes * 60
    window = Window(
        start=end - seconds, end=end, step_seconds=max(1.0, seconds / 300), rate_interval=options.rate_interval
    )
    with httpx.Client(base_url=options.prometheus, timeout=60) as client, use_style():
        for file in sorted(FOLDER.glob("*.json")):
            picture = options.out / f"{file.stem}.png"
            draw_dashboard(client, json.loads(file.read_text("utf-8")), window).savefig(picture, dpi=90)
            print(picture)


if __name__ == "__main__":
    main()
