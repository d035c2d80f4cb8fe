"""The chart against the code, the image and Prometheus' files: what it names exists there and says the same."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service.helm_chart import MANAGED, insert_settings, list_copies
from service.keys import KeyLimits, read_key_file
from service.metrics import Metrics
from service.settings import PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from tests.helm.conftest import Render, Rendered

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
CHART = ROOT / "helm" / "vl-genrm"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
CHART_FILE = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
TEXTS = [
    file
    for file in sorted(CHART.rglob("*"))
    if file.is_file() and file.parent.name not in {"rules", "dashboards"} and file.name != "values.schema.json"
]
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.relative_to(CHART).as_posix())
def test_every_setting_that_is_named_is_one(file: Path) -> None:
    text = file.read_text("utf-8")
    in_capitals = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", text))
    in_values = {PREFIX + name.upper() for name in re.findall(r"(?<![\w$/])settings\.([a-z_]+)", text)}
    assert (in_capitals | in_values) - KNOWN == set()


def test_every_variable_that_the_judge_gets_is_a_setting_or_its_library_s(rendered: Rendered) -> None:
    given = {*rendered.settings, *(variable["name"] for variable in rendered.container["env"])}
    libraries = {"HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "TZ"}
    assert given - KNOWN <= libraries
    assert not set(rendered.settings) & {variable["name"] for variable in rendered.container["env"]}


def test_the_service_starts_with_the_settings_that_it_gets(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rendered.settings.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.host == "0.0.0.0"  # noqa: S104 - pods are reached from outside
    assert settings.log_format == "json"


def test_a_value_of_the_chart_stands_for_every_setting() -> None:
    """Either in `settings`, by its schema, or because the templates make it of other values."""
    templates = "\n".join(file.read_text("utf-8") for file in (CHART / "templates").rglob("*.*"))
    made = {name for name in MANAGED if f'"{name}"' in templates or PREFIX + name.upper() in templates}
    assert made == MANAGED - {"api_keys"}, "keys come as a file only: a variable is read by who reads the environment"
    assert {PREFIX + name.upper() for name in MANAGED} <= KNOWN


def test_the_schema_has_the_settings_of_the_code() -> None:
    schema = (CHART / "values.schema.json").read_text("utf-8")
    assert insert_settings(schema) == schema, "run: python -m service.helm_chart docker helm/vl-genrm"


def test_rules_and_dashboards_are_those_of_the_other_deployments() -> None:
    copies = list_copies(DOCKER, CHART)
    assert {target.parent.name for target in copies} == {"rules", "dashboards"}
    for target, source in copies.items():
        assert target.read_bytes() == source.read_bytes(), "run: python -m service.helm_chart docker helm/vl-genrm"
    there = {file for folder in ("rules", "dashboards") for file in (CHART / folder).iterdir()}
    assert there == set(copies)


def test_dashboards_and_rules_arrive_unchanged(everything: Rendered) -> None:
    """Templates of Grafana and of Prometheus look like Helm's."""
    dashboards = {name: text for thing in everything.of_kind("ConfigMap") for name, text in thing["data"].items()}
    for file in (DOCKER / "grafana" / "dashboards").glob("*.json"):
        assert dashboards[file.name].strip() == file.read_text("utf-8").strip()
    [rules] = everything.of_kind("PrometheusRule")
    groups = {group["name"]: group["rules"] for group in rules["spec"]["groups"]}
    for file in (DOCKER / "prometheus" / "rules").glob("*.yml"):
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            kept = [rule for rule in group["rules"] if rule.get("alert") != "GenrmLatencyHigh"]
            assert groups[group["name"]] == kept


def test_series_get_the_job_that_rules_and_dashboards_go_by(everything: Rendered) -> None:
    prometheus = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    [monitor] = everything.of_kind("ServiceMonitor")
    jobs = [
        rule["replacement"]
        for endpoint in monitor["spec"]["endpoints"]
        for rule in endpoint["relabelings"]
        if rule["targetLabel"] == "job"
    ]
    assert jobs == [scrape["job_name"] for scrape in prometheus["scrape_configs"]]


def test_autoscaling_goes_by_series_that_are_exported(render: Render) -> None:
    exported = {family.name for family in Metrics().registry.collect()}
    schema = yaml.safe_load((CHART / "values.schema.json").read_text("utf-8"))
    metrics = set(schema["properties"]["autoscaling"]["properties"]["metric"]["enum"]) - {"cpu"}
    assert metrics <= exported
    adapter = yaml.safe_load((CHART / "examples" / "prometheus-adapter.yaml").read_text("utf-8"))
    [pattern] = re.findall(r'__name__=~"([^"]+)"', adapter["rules"]["custom"][0]["seriesQuery"])
    assert metrics == {name for name in exported if re.fullmatch(pattern, name)}
    values = yaml.safe_load((CHART / "examples" / "postgresql.yaml").read_text("utf-8"))
    [scaler] = render(values).of_kind("HorizontalPodAutoscaler")
    assert scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] in metrics


def test_probes_ask_for_routes_that_exist_on_the_port_that_is_listened_on(rendered: Rendered) -> None:
    from service.app import create_app

    routes = create_app(Settings()).openapi()["paths"]
    container = rendered.container
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in routes
        assert ports[asked["port"]] == rendered.settings["GENRM_PORT"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert ports.get("metrics") == rendered.settings.get("GENRM_METRICS_PORT")


def test_the_port_is_that_of_image_and_code() -> None:
    assert VALUES["port"] == Settings.model_fields["port"].default
    assert f"EXPOSE {VALUES['port']}\n" in DOCKERFILE


def test_a_pod_is_not_killed_before_it_may_stop(rendered: Rendered) -> None:
    grace = rendered.judge["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    settings = rendered.settings
    needed = float(settings["GENRM_SHUTDOWN_DELAY_SECONDS"]) + float(settings["GENRM_SHUTDOWN_TIMEOUT_SECONDS"])
    assert grace >= needed + 5


@pytest.mark.parametrize(
    ("delay", "timeout", "seconds"), [(0.5, 100, 101), (0, 10, 10), (None, 10, 11), (2, None, 27), (None, None, 26)]
)
def test_the_grace_period_follows_the_settings(
    render: Render, delay: float | None, timeout: int | None, seconds: int
) -> None:
    defaults = [Settings.model_fields[f"shutdown_{name}_seconds"].default for name in ("delay", "timeout")]
    given = [default if value is None else value for value, default in zip((delay, timeout), defaults, strict=True)]
    assert math.ceil(sum(given)) == seconds
    values: dict[str, Any] = {"settings": {"shutdown_delay_seconds": delay, "shutdown_timeout_seconds": timeout}}
    assert render(values).judge["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds + 5


def test_user_and_folders_are_the_image_s(render: Render) -> None:
    [user] = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    spec = render({}).judge["spec"]["template"]["spec"]
    assert {spec["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {int(user)}
    mounts = {mount["name"]: mount["mountPath"] for mount in render({}).container["volumeMounts"]}
    assert f"HOME={mounts['tmp']} " in DOCKERFILE
    assert f"HF_HOME={mounts['models']} " in DOCKERFILE
    assert {"name": "HF_HOME", "value": mounts["models"]} in render({}).container["env"]
    assert render({}).settings["GENRM_DATABASE_URL"].startswith(f"sqlite:///{mounts['database']}/")


def test_the_container_runs_what_the_image_is_for() -> None:
    assert 'ENTRYPOINT ["vl-genrm"]' in DOCKERFILE
    assert "args: [serve]" in (CHART / "templates" / "deployment.yaml").read_text("utf-8")


def test_the_key_file_can_be_read_and_lies_where_the_service_looks(everything: Rendered, tmp_path: Path) -> None:
    [lines] = [thing["stringData"]["keys"] for thing in everything.of_kind("Secret") if "keys" in thing["stringData"]]
    file = tmp_path / "keys"
    file.write_text(lines, "utf-8")
    [key] = read_key_file(file, KeyLimits(requests_per_minute=None, max_concurrent=None))
    assert key.name == "alice"
    [mount] = [mount for mount in everything.container["volumeMounts"] if mount["name"] == "keys"]
    [volume] = [
        volume for volume in everything.judge["spec"]["template"]["spec"]["volumes"] if volume["name"] == "keys"
    ]
    assert f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}" == everything.settings["GENRM_API_KEYS_FILE"]
    assert "subPath" not in mount, "a file mounted alone never changes"


def test_the_chart_is_for_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert CHART_FILE["appVersion"] == project["version"]
    assert CHART_FILE["name"] == project["name"]
