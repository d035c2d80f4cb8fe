"""Every query that is shipped, asked of a real Prometheus that scrapes the real service: dashboards, rules, alerts."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service.dashboards import render_dashboard
from service.panels import DASHBOARDS, Dashboard

if TYPE_CHECKING:
    from tests.docker.conftest import Monitored

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARD_FOLDER = ROOT / "docker" / "grafana" / "dashboards"
PANELS = [
    (f"{dashboard.uid}: {panel.title}", query.expression)
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on this machine; Debian's package 'prometheus' has it"
)


def read_rules(file: str, kind: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules" / file).read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS = read_rules("alerts.yml", "alert")
RECORDS = read_rules("recording.yml", "record")


def run_promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    assert program is not None
    command = [program, *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROMETHEUS)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def load_plots() -> ModuleType:
    """The script that draws dashboards, as a module."""
    spec = importlib.util.spec_from_file_location("plot_dashboards", ROOT / "bench" / "plot_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plot_dashboards"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@needs_promtool
def test_promtool_takes_the_configuration() -> None:
    assert "2 rule files found" in run_promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in run_promtool("check", "rules", "rules/alerts.yml")
    assert f"{len(RECORDS)} rules found" in run_promtool("check", "rules", "rules/recording.yml")


@needs_promtool
def test_alerts_fire_when_they_should_and_are_silent_when_all_is_well() -> None:
    run_promtool("test", "rules", Path(__file__).parent / "alerts_test.yml")


def test_every_alert_is_made_to_fire_by_the_rule_tests() -> None:
    cases = (Path(__file__).parent / "alerts_test.yml").read_text("utf-8")
    fired = re.findall(r"""count\(ALERTS{alertname="(\w+)", alertstate="firing"}\)', .*value: 1""", cases)
    assert set(fired) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"].split(". ")) >= 2, "a description has what it means, and a remedy"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_section_in_the_operator_s_document(rule: dict[str, Any]) -> None:
    document = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert re.search(rf"^### {rule['alert']}$", document, re.MULTILINE)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_dashboard_s_file_is_what_the_code_writes(dashboard: Dashboard) -> None:
    file = DASHBOARD_FOLDER / f"{dashboard.uid}.json"
    message = "run python -m service.dashboards docker/grafana/dashboards"
    assert file.read_text("utf-8") == render_dashboard(dashboard), message


def test_there_is_no_dashboard_that_the_code_does_not_write() -> None:
    assert {file.stem for file in DASHBOARD_FOLDER.iterdir()} == {dashboard.uid for dashboard in DASHBOARDS}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_of_a_dashboard_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(render_dashboard(dashboard))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


@pytest.mark.slow
@pytest.mark.parametrize(("panel", "expression"), PANELS, ids=[f"{title}-{i}" for i, (title, _) in enumerate(PANELS)])
def test_a_panel_shows_numbers_after_traffic(monitored: Monitored, panel: str, expression: str) -> None:
    # As wide as the whole test, so that a slow machine does not push the traffic out of the window.
    filled = expression.replace("$__rate_interval", "10m").replace("$instance", ".*")
    assert "$" not in filled
    values = [float(series["value"][1]) for series in monitored.query(filled)]
    assert any(math.isfinite(value) for value in values), f"{panel}: {values}"


@pytest.mark.slow
@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_a_recording_rule_has_written_its_series(monitored: Monitored, rule: dict[str, Any]) -> None:
    [series] = monitored.query(rule["record"])
    assert series["metric"]["job"] == "genrm"
    assert math.isfinite(float(series["value"][1]))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_s_expression_is_silent_on_a_healthy_service(monitored: Monitored, rule: dict[str, Any]) -> None:
    assert monitored.query(rule["expr"]) == []


@pytest.mark.slow
def test_every_series_that_a_query_names_is_exported(monitored: Monitored) -> None:
    """An alert on a series that does not exist would be silent for ever."""
    queries = [expression for _, expression in PANELS] + [rule["expr"] for rule in (*RECORDS, *ALERTS)]
    named = set(re.findall(r"(?<![:\w])(?:genrm|process)_\w+(?=[{\[\s)]|$)", "\n".join(queries)))
    assert len(named) > 20
    names = monitored.prometheus.get("/api/v1/label/__name__/values").json()["data"]
    assert named - set(names) == set()


@pytest.mark.slow
def test_the_dashboards_can_be_drawn_without_grafana(monitored: Monitored, tmp_path: Path) -> None:
    plots = load_plots()
    address = str(monitored.prometheus.base_url)
    plots.main(["--prometheus", address, "--minutes", "2", "--rate-interval", "30s", "--out", str(tmp_path)])
    for dashboard in DASHBOARDS:
        assert (tmp_path / f"{dashboard.uid}.png").read_bytes().startswith(b"\x89PNG")


def test_buckets_that_count_cumulatively_are_drawn_one_by_one() -> None:
    plots = load_plots()
    lines = [
        plots.Line(legend=le, labels={"le": le}, times=[0.0, 1.0], values=values)
        for le, values in (("+Inf", [4.0, 9.0]), ("0.5", [1.0, 2.0]), ("-0.5", [1.0, 0.0]))
    ]
    bounds, counts = plots.split_buckets(lines, [0.0, 1.0])
    assert bounds == ["-0.5", "0.5", "+Inf"]
    assert counts.tolist() == [[1, 0], [0, 2], [3, 7]]
