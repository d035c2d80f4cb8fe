"""What the chart refuses, and with which words; and that everything it takes is explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.helm.conftest import Render

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "vl-genrm"
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES = (CHART / "values.yaml").read_text("utf-8")
POSTGRESQL = {"kind": "postgresql", "postgresql": {"existingSecret": "database"}}
KEYS = {"existingSecret": "keys"}
HOST = {"enabled": True, "hosts": [{"host": "judge.example.com"}]}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": 2}, "SQLite serves one replica. Set replicaCount to 1"),
    ({"autoscaling": {"enabled": True}}, "SQLite serves one replica"),
    ({"strategy": {"type": "RollingUpdate"}}, "With SQLite two pods must never run at once"),
    ({"database": {"kind": "postgresql"}}, "database.postgresql.existingSecret"),
    ({"database": {"kind": "mysql"}}, "'sqlite', 'postgresql', 'none'"),
    (
        {"replicaCount": 2, "database": POSTGRESQL, "modelCache": {"persistence": {"enabled": True}}},
        "[ReadWriteMany], or modelCache.persistence.enabled to false",
    ),
    (
        {"modelCache": {"persistence": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
        "set hub.offline to true",
    ),
    (
        {"vllm": {"enabled": True, "replicaCount": 2, "modelCache": {"persistence": {"enabled": True}}}},
        "Several replicas of vLLM cannot share",
    ),
    ({"vllm": {"enabled": True}, "settings": {"engine_url": "http://a/v1"}}, "Drop one of them"),
    ({"vllm": {"enabled": True}, "settings": {"adapter": "a"}}, "--lora-modules"),
    (
        {"database": POSTGRESQL, "vllm": {"enabled": True}, "autoscaling": {"enabled": True}},
        "autoscaling.metric to genrm_requests_running or cpu",
    ),
    (
        {"database": POSTGRESQL, "autoscaling": {"enabled": True, "minReplicas": 9}},
        "autoscaling.minReplicas is 9 and maxReplicas 6",
    ),
    (
        {
            "database": POSTGRESQL,
            "autoscaling": {"enabled": True, "metric": "cpu"},
            "resources": {"requests": {"cpu": None}},
        },
        "Set resources.requests.cpu",
    ),
    ({"podDisruptionBudget": {"minAvailable": 1}}, "A disruption budget has one limit"),
    ({"podDisruptionBudget": {"maxUnavailable": None}}, "A disruption budget has one limit"),
    ({"ingress": HOST}, "This would open the judge to everybody"),
    ({"service": {"type": "LoadBalancer"}}, "This would open the judge to everybody"),
    ({"ingress": {"enabled": True}, "auth": KEYS}, "at least one of ingress.hosts"),
    ({"auth": {**KEYS, "keys": [f"a:{'0' * 64}"]}}, "either auth.existingSecret or auth.keys"),
    ({"ingress": HOST, "auth": KEYS, "networkPolicy": {"enabled": True}}, "would keep the Ingress out"),
    ({"metrics": {"serviceMonitor": {"enabled": True}}, "networkPolicy": {"enabled": True}}, "keep Prometheus out"),
    ({"port": 9090}, "port and metrics.port are the same"),
    ({"terminationGracePeriodSeconds": 30}, "is 30, but a shutdown may take 30 s"),
    (
        {"metrics": {"prometheusRule": {"enabled": True, "disabledAlerts": ["GenrmDwn"]}}},
        "GenrmDwn, which is no alert. There are: GenrmDown",
    ),
    ({"replicaCont": 1}, "additional properties 'replicaCont' not allowed"),
    ({"resources": {"limit": {}}}, "at '/resources': additional properties 'limit' not allowed"),
    ({"vllm": {"modell": "a"}}, "at '/vllm': additional properties 'modell' not allowed"),
    ({"port": -1}, "at '/port': minimum: got -1"),
    ({"port": 80}, "at '/port': minimum: got 80, want 1,024"),
    ({"image": {"tag": 1.2}}, "at '/image/tag': got number, want string"),
    ({"modelCache": {"sizeLimit": "50 GB"}}, "at '/modelCache/sizeLimit'"),
    ({"settings": {"max_queu": 1}}, "additional properties 'max_queu' not allowed"),
    ({"settings": {"max_queue": 0}}, "at '/settings/max_queue': minimum: got 0, want 1"),
    ({"settings": {"dtype": "int4"}}, "'auto', 'float32', 'bfloat16', 'float16'"),
    ({"settings": {"port": 1}}, "additional properties 'port' not allowed"),
    ({"settings": {"api_keys": "alice:key"}}, "additional properties 'api_keys' not allowed"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_work_is_refused_in_words_that_help(
    helm: Any, render: Render, values: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render(values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auth": {"keys": ["alice:genrm-secret"]}}, "auth.keys[0] is no line of a key file"),
        (
            {"database": {"kind": "postgresql", "postgresql": {"url": "mysql://a:genrm-secret@b"}}},
            "does not begin with",
        ),
    ],
)
def test_a_refusal_does_not_repeat_a_secret(helm: Any, render: Render, values: Mapping[str, Any], words: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render(values)
    assert words in str(caught.value)
    assert "genrm-secret" not in str(caught.value)


@pytest.mark.parametrize("values", [{"ingress": HOST}, {"service": {"type": "NodePort"}}], ids=["ingress", "service"])
def test_a_judge_without_keys_opens_when_somebody_says_so(render: Render, values: Mapping[str, Any]) -> None:
    assert render({**values, "auth": {"allowAnonymous": True}}).of_kind("Service")


def test_the_last_shutdown_that_fits_is_taken(render: Render) -> None:
    spec = render({"terminationGracePeriodSeconds": 31}).judge["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 31


def objects_of(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object that the schema describes, definitions followed, with its path."""
    reference = schema.get("$ref")
    if reference is not None:
        schema = SCHEMA["definitions"][reference.rsplit("/", 1)[1]]
    if "properties" in schema:
        yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from objects_of(below, f"{path}.{name}".lstrip("."))


def test_the_schema_names_every_value_and_no_other() -> None:
    values = yaml.safe_load(VALUES)
    for path, schema in objects_of(SCHEMA):
        assert schema["additionalProperties"] is False, path
        given: Any = values
        for name in filter(None, path.split(".")):
            given = given.get(name, {})
        known = set(schema["properties"])
        assert set(given) <= known, path
        if path not in {"settings", "strategy"} and not path.endswith(("resources",)) and "probes." not in path:
            assert known - set(given) <= {"global"}, f"{path}: in the schema, not in values.yaml"


def test_every_value_stands_in_a_template() -> None:
    """A value that nothing reads would be taken and ignored."""
    texts = "\n".join(file.read_text("utf-8") for file in (CHART / "templates").rglob("*.*"))
    names = {name for path, schema in objects_of(SCHEMA) if path != "settings" for name in schema["properties"]}
    passed_on_whole = {"requests", "limits", "claims", "rollingUpdate", "scaleUp", "scaleDown", "liveness", "readiness"}
    passed_on_whole |= {"initialDelaySeconds", "timeoutSeconds", "global"}
    assert {name for name in names if not re.search(rf"\.{name}\b", texts)} <= passed_on_whole


def test_the_readme_shows_every_example() -> None:
    readme = (CHART / "README.md").read_text("utf-8")
    assert [file.name for file in (CHART / "examples").glob("*.yaml") if f"`examples/{file.name}`" not in readme] == []


def test_values_that_the_readme_names_exist() -> None:
    readme = (CHART / "README.md").read_text("utf-8")
    known = {f"{path}.{name}".lstrip(".") for path, schema in objects_of(SCHEMA) for name in schema["properties"]}
    tops = {name for name in known if "." not in name} - {"settings"}
    named = {name for name in re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z_]+)+)`", readme) if name.split(".")[0] in tops}
    assert named
    passed_on_whole = {name for name in named if "SecurityContext" in name}
    assert named - known - passed_on_whole == set()


def test_a_packaged_chart_has_all_it_needs(helm: Any, render: Render, tmp_path: Path) -> None:
    archive = helm.package(CHART, destination=tmp_path)
    with helm.Chart.load(archive) as chart:
        names = {file["name"] for file in chart.files}
        values = yaml.safe_load((CHART / "examples" / "gpu.yaml").read_text("utf-8"))
        texts = chart.render(values, name="test", namespace="judges")
    assert {"README.md", "rules/alerts.yml", "dashboards/genrm-latency.json"} <= names
    assert texts == render(values).texts
