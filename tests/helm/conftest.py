"""The chart rendered by Helm itself: its Go library, which the package helm-python-sdk carries. No cluster is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "vl-genrm"
EXAMPLES = CHART / "examples"
NAMESPACE = "judges"

Values = Mapping[str, Any]
SETUPS: dict[str, Values] = {
    "defaults": {},
    **{
        file.stem: yaml.safe_load(file.read_text("utf-8"))
        for file in (*sorted(EXAMPLES.glob("*.yaml")), *sorted((Path(__file__).parent / "setups").glob("*.yaml")))
        if file.stem != "prometheus-adapter"
    },
}
"""What the chart is rendered with: its defaults, its examples, and `setups/`, where each file says what it is for."""


@dataclass(frozen=True)
class Rendered:
    """What Helm makes of the chart. texts: by template. objects: of all manifests."""

    texts: Mapping[str, str]
    objects: tuple[dict[str, Any], ...]
    notes: str

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [thing for thing in self.objects if thing["kind"] == kind]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        [found] = [thing for thing in self.of_kind(kind) if thing["metadata"]["name"] == name]
        return found

    def names_of(self, kind: str) -> set[str]:
        return {thing["metadata"]["name"] for thing in self.of_kind(kind)}

    @property
    def judge(self) -> dict[str, Any]:
        """The Deployment of the judge."""
        [found] = [
            thing
            for thing in self.of_kind("Deployment")
            if thing["metadata"]["labels"]["app.kubernetes.io/component"] == "judge"
        ]
        return found

    @property
    def container(self) -> dict[str, Any]:
        """The judge's own container."""
        found: dict[str, Any] = self.judge["spec"]["template"]["spec"]["containers"][0]
        return found

    @property
    def settings(self) -> dict[str, str]:
        """The variables that the judge gets from the chart's ConfigMap."""
        [found] = [
            thing["data"] for thing in self.of_kind("ConfigMap") if thing["metadata"]["name"].endswith("-settings")
        ]
        return dict(found)

    @property
    def pods(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and spec of every pod, whatever makes it."""
        return [
            (thing["metadata"]["name"], thing["spec"] if thing["kind"] == "Pod" else thing["spec"]["template"]["spec"])
            for thing in self.objects
            if thing["kind"] in {"Deployment", "Pod"}
        ]


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def helm() -> Any:
    """The module of Helm's library."""
    return pytest.importorskip("helm_python", reason="helm-python-sdk has no build for this machine")


@pytest.fixture(scope="session")
def render(helm: Any) -> Iterator[Render]:
    """Renders as `helm template` does: schema first, then templates. Raises HelmError like it."""
    seen: dict[str, Rendered] = {}
    with helm.Chart.load(CHART) as chart:

        def run(values: Values | None = None, name: str = "test") -> Rendered:
            key = json.dumps([name, values])
            if key not in seen:
                given = dict(values or {})
                chart.validate_schema(given)
                texts = chart.render(given, name=name, namespace=NAMESPACE)
                seen[key] = split(texts)
            return seen[key]

        yield run


def split(texts: Mapping[str, str]) -> Rendered:
    """The objects of rendered templates; fails if one has two keys of one name, which PyYAML would merge silently."""
    objects = [
        document
        for name, text in texts.items()
        if not name.endswith(".txt")
        for document in yaml.load_all(text, StrictLoader)
        if document
    ]
    [notes] = [text for name, text in texts.items() if name.endswith("NOTES.txt")]
    return Rendered(texts, tuple(objects), notes)


class StrictLoader(yaml.SafeLoader):
    """Refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice in {keys}"
        return super().construct_mapping(node, deep)


@pytest.fixture(scope="session")
def everything(render: Render) -> Rendered:
    """The chart with all that it has."""
    return render(SETUPS["everything"])


@pytest.fixture(params=SETUPS)
def rendered(request: pytest.FixtureRequest, render: Render) -> Rendered:
    """The chart under each of the set-ups."""
    return render(SETUPS[request.param])
