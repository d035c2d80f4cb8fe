"""What the chart renders to, under every set-up: valid for Kubernetes, whole, and safe by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

if TYPE_CHECKING:
    from tests.helm.conftest import Render, Rendered

CHART = Path(__file__).parents[2] / "helm" / "vl-genrm"
MONITORING = "monitoring.coreos.com/v1"
OLDEST, NEWEST = "1.27", "1.37"
EXISTING = {
    "Secret": {"judge-keys", "judge-database", "engine-key", "hub", "database", "registry"},
    "ConfigMap": {"more"},
    "PersistentVolumeClaim": {"their-database", "their-models"},
    "ServiceAccount": {"theirs"},
}
"""What the set-ups say that somebody else makes."""


def references(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of all that a pod needs to start."""
    yield "ServiceAccount", spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets", ()):
        yield "Secret", secret["name"]
    for volume in spec.get("volumes", ()):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        for source in container.get("envFrom", ()):
            yield "ConfigMap", source["configMapRef"]["name"]
        for variable in container.get("env", ()):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]


def labels_of_pods(rendered: Rendered) -> list[dict[str, str]]:
    return [
        thing["metadata"]["labels"] if thing["kind"] == "Pod" else thing["spec"]["template"]["metadata"]["labels"]
        for thing in rendered.objects
        if thing["kind"] in {"Deployment", "Pod"}
    ]


def chooses(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_would_take_every_object(rendered: Rendered, version: str) -> None:
    for thing in rendered.objects:
        if thing["apiVersion"] != MONITORING:
            kubernetes_validate.validate(thing, version, strict=True)


def test_helm_lint_has_nothing_to_say(helm: Any, render: Render) -> None:
    del render
    report = helm.lint(CHART, strict=True, kube_version=f"v{NEWEST}.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if "icon is recommended" not in message["error"]] == []


def test_no_two_objects_have_one_name(rendered: Rendered) -> None:
    names = Counter((thing["kind"], thing["metadata"]["name"]) for thing in rendered.objects)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", ["vl-genrm", "a" * 53, "x"])
def test_names_fit_whatever_the_release_is_called(render: Render, name: str) -> None:
    values = yaml.safe_load((Path(__file__).parent / "setups" / "everything.yaml").read_text("utf-8"))
    for thing in render(values, name=name).objects:
        assert len(thing["metadata"]["name"]) <= (253 if thing["kind"] == "ConfigMap" else 63)
        assert all(len(value) <= 63 for value in thing["metadata"]["labels"].values())


def test_everything_that_a_pod_needs_is_rendered_or_said_to_exist(rendered: Rendered) -> None:
    for _, spec in rendered.pods:
        for kind, name in references(spec):
            assert name in rendered.names_of(kind) | EXISTING[kind], f"{kind} {name}"


def test_secrets_have_the_keys_that_are_asked_of_them(rendered: Rendered) -> None:
    own = {thing["metadata"]["name"]: set(thing["stringData"]) for thing in rendered.of_kind("Secret")}
    for _, spec in rendered.pods:
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                asked = variable.get("valueFrom", {}).get("secretKeyRef")
                assert asked is None or asked["name"] in EXISTING["Secret"] or asked["key"] in own[asked["name"]]


def test_what_is_mounted_is_a_volume_and_the_other_way_round(rendered: Rendered) -> None:
    for name, spec in rendered.pods:
        mounted = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in spec.get("volumes", ())}, name


def test_a_deployment_and_its_service_choose_its_pods_and_no_others(rendered: Rendered) -> None:
    pods = labels_of_pods(rendered)
    for thing in rendered.of_kind("Deployment"):
        own = thing["spec"]["template"]["metadata"]["labels"]
        assert [pod for pod in pods if chooses(thing["spec"]["selector"]["matchLabels"], pod)] == [own]
    for thing in rendered.of_kind("Service"):
        chosen = [pod for pod in pods if chooses(thing["spec"]["selector"], pod)]
        assert len(chosen) == 1
        assert chosen[0]["app.kubernetes.io/component"] in thing["metadata"]["labels"]["app.kubernetes.io/component"]


def test_ports_by_name_are_ports_of_the_pods(rendered: Rendered) -> None:
    ports = {
        thing["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["name"] for port in thing["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        for thing in rendered.of_kind("Deployment")
    }
    for thing in rendered.of_kind("Service"):
        component = thing["spec"]["selector"]["app.kubernetes.io/component"]
        assert {port["targetPort"] for port in thing["spec"]["ports"]} <= ports[component]
    for thing in rendered.of_kind("NetworkPolicy"):
        component = thing["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        assert {port["port"] for rule in thing["spec"]["ingress"] for port in rule["ports"]} <= ports[component]


def test_budgets_policies_and_scalers_are_about_the_judge(rendered: Rendered) -> None:
    pod = rendered.judge["spec"]["template"]["metadata"]["labels"]
    for thing in rendered.of_kind("PodDisruptionBudget"):
        assert chooses(thing["spec"]["selector"]["matchLabels"], pod)
    for thing in rendered.of_kind("HorizontalPodAutoscaler"):
        assert thing["spec"]["scaleTargetRef"]["name"] == rendered.judge["metadata"]["name"]
        assert "replicas" not in rendered.judge["spec"], "an upgrade would undo what the scaler did"
    for constraint in rendered.judge["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
        assert chooses(constraint["labelSelector"].get("matchLabels", {}), pod)


def test_no_pod_has_rights_that_it_does_not_need(rendered: Rendered) -> None:
    for name, spec in rendered.pods:
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, "GENRM_PORT of a Service `genrm` would be taken for a setting"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]["memory"]
    for account in rendered.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_no_secret_is_outside_of_secrets(everything: Rendered) -> None:
    others = json.dumps([thing for thing in everything.objects if thing["kind"] != "Secret"]) + everything.notes
    for secret in ("genrm:secret@", "hf_1", "a-key", "5e5e5e"):
        assert secret not in others
        assert secret in json.dumps(everything.of_kind("Secret"))


def test_one_pod_is_gone_before_the_next_comes_where_a_volume_takes_one(rendered: Rendered) -> None:
    claims = {
        thing["metadata"]["name"]: thing["spec"]["accessModes"] for thing in rendered.of_kind("PersistentVolumeClaim")
    }
    for deployment in rendered.of_kind("Deployment"):
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        used = [volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume]
        writing = [claim["claimName"] for claim in used if not claim.get("readOnly")]
        if any(claims.get(name, ["ReadWriteOnce"]) == ["ReadWriteOnce"] for name in writing):
            assert deployment["spec"]["strategy"]["type"] == "Recreate"
            assert deployment["spec"]["replicas"] == 1


def test_a_change_of_settings_or_secrets_starts_new_pods_and_one_of_keys_does_not(render: Render) -> None:
    def annotations(**values: Any) -> dict[str, str]:
        found: dict[str, str] = render(values).judge["spec"]["template"]["metadata"]["annotations"]
        return found

    first, second = (f"alice:{digit * 64}" for digit in "12")
    assert annotations(settings={"max_queue": 1}) != annotations(settings={"max_queue": 2})
    assert annotations(hub={"token": "a"}) != annotations(hub={"token": "b"})
    assert annotations(auth={"keys": [first]}) == annotations(auth={"keys": [second]})


def test_numbers_are_written_out(everything: Rendered) -> None:
    """Helm reads numbers as floats, which Go prints as 2.097152e+07."""
    assert everything.settings["GENRM_MAX_IMAGE_BYTES"] == "20971520"
    assert everything.settings["GENRM_TIE_MARGIN"] == "0.05"
    assert everything.settings["GENRM_EXPERTS_REQUIRED"] == "false"


def test_a_gpu_is_asked_for_tolerated_and_required(everything: Rendered) -> None:
    for deployment, count in zip(everything.of_kind("Deployment"), ("1", "2"), strict=True):
        spec = deployment["spec"]["template"]["spec"]
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == count
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
        assert {"key": "spot", "operator": "Exists"} in spec["tolerations"]
    assert everything.settings["GENRM_DEVICE"] == "cuda"


def test_the_judge_talks_to_the_vllm_of_its_release(render: Render) -> None:
    rendered = render(yaml.safe_load((CHART / "examples" / "vllm.yaml").read_text("utf-8")))
    [vllm] = [thing for thing in rendered.of_kind("Deployment") if thing is not rendered.judge]
    service = rendered.get("Service", vllm["metadata"]["name"])
    url = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/v1"
    assert rendered.settings["GENRM_ENGINE_URL"] == url
    container = vllm["spec"]["template"]["spec"]["containers"][0]
    keys = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in (*container["env"], *rendered.container["env"])
        if "valueFrom" in variable
    }
    assert keys["VLLM_API_KEY"] == keys["GENRM_ENGINE_API_KEY"] == {"name": "engine-key", "key": "api-key"}
    [wait] = rendered.judge["spec"]["template"]["spec"]["initContainers"]
    assert url.removesuffix("/v1") + "/health" in wait["command"][-1]


def test_the_programs_inside_of_manifests_are_python(everything: Rendered) -> None:
    programs = [
        container["command"][2]
        for _, spec in everything.pods
        for container in (*spec["containers"], *spec.get("initContainers", ()))
        if container.get("command", [""])[0] == "python"
    ]
    assert len(programs) == 2
    for program in programs:
        compile(program, "manifest", "exec")


def test_a_service_monitor_has_the_shape_that_the_operator_reads(everything: Rendered) -> None:
    [monitor] = everything.of_kind("ServiceMonitor")
    assert monitor["apiVersion"] == MONITORING
    assert set(monitor["spec"]) == {"namespaceSelector", "selector", "endpoints"}
    [endpoint] = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval", "scrapeTimeout", "relabelings", "metricRelabelings"}
    rules = [*endpoint["relabelings"], *endpoint["metricRelabelings"]]
    assert all(set(rule) <= {"action", "sourceLabels", "targetLabel", "replacement", "regex"} for rule in rules)


def test_a_service_monitor_finds_one_service_with_its_port(rendered: Rendered) -> None:
    for monitor in rendered.of_kind("ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        [service] = [thing for thing in rendered.of_kind("Service") if chooses(selector, thing["metadata"]["labels"])]
        [endpoint] = monitor["spec"]["endpoints"]
        assert [endpoint["port"]] == [port["name"] for port in service["spec"]["ports"]]


def test_rules_of_the_operator_are_rules_for_prometheus(everything: Rendered, tmp_path: Path) -> None:
    """And so is what prometheus-adapter asks, with its placeholders filled in."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine; Debian's package 'prometheus' has it")
    adapter = yaml.safe_load((CHART / "examples" / "prometheus-adapter.yaml").read_text("utf-8"))
    [rule] = adapter["rules"]["custom"]
    query = rule["metricsQuery"]
    for placeholder, text in (("Series", "genrm_requests_waiting"), ("LabelMatchers", 'pod="a"'), ("GroupBy", "pod")):
        assert f"<<.{placeholder}>>" in query
        query = query.replace(f"<<.{placeholder}>>", text)
    [rules] = everything.of_kind("PrometheusRule")
    groups = [*rules["spec"]["groups"], {"name": "adapter", "rules": [{"record": "a:b:c", "expr": query}]}]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": groups}), "utf-8")
    answer = subprocess.run([program, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_an_alert_can_be_replaced(render: Render, everything: Rendered) -> None:
    def names(rendered: Rendered) -> list[str]:
        [rules] = rendered.of_kind("PrometheusRule")
        return [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]

    all_of_them = names(render({"metrics": {"prometheusRule": {"enabled": True}}}))
    assert names(everything) == [*(name for name in all_of_them if name != "GenrmLatencyHigh"), "Slow"]


def test_notes_say_what_the_release_needs(render: Render) -> None:
    assert "WARNING: it has no keys" in render({}).notes
    assert "names no registry" in render({}).notes
    assert "LOST WITH THE POD" in render({"database": {"sqlite": {"persistence": {"enabled": False}}}}).notes
    ingress = yaml.safe_load((CHART / "examples" / "ingress.yaml").read_text("utf-8"))
    assert "https://judge.example.com\n" in render(ingress).notes
    assert "WARNING" not in render(ingress).notes
    assert "/metrics is on the main port" in render({**ingress, "metrics": {"port": None}}).notes


def test_notes_have_no_traces_of_templates(rendered: Rendered) -> None:
    assert "rollout status deployment/test-vl-genrm" in rendered.notes
    assert not any(trace in rendered.notes for trace in ("{{", "<no value>", "<nil>", "%!", "\n\n\n"))


def test_manifests_have_no_traces_of_failed_templates(rendered: Rendered) -> None:
    for name, text in rendered.texts.items():
        if "dashboards" not in name:
            assert not any(trace in text for trace in ("<no value>", "<nil>", "%!", "e+0")), name
