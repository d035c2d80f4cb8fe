"""The example of a labelling on KubeRay: it is whole, and what it calls exists. No cluster runs it here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from training.label_command import label

ROOT = Path(__file__).parents[2]
CLAIM, JOB = yaml.safe_load_all((ROOT / "helm" / "kuberay" / "label-job.yaml").read_text("utf-8"))
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
WORDS = shlex.split(JOB["spec"]["entrypoint"])


def option(name: str) -> str:
    return WORDS[WORDS.index(name) + 1]


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_it_is_a_job_and_the_volume_that_all_its_pods_share() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in GROUPS:
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        mounts = {each["name"]: each["mountPath"] for each in container(group)["volumeMounts"]}
        assert mounts.keys() == volumes.keys()
        for path in (WORDS[2], option("--output")):
            assert Path(path).is_relative_to(mounts["data"])


def test_the_command_and_its_options_exist() -> None:
    assert WORDS[:2] == ["vl-genrm", "label"]
    given = {word[2:].replace("-", "_") for word in WORDS if word.startswith("--")}
    assert given <= set(label.__annotations__)
    assert (option("--runner"), option("--ray-address")) == ("ray", "auto")


def test_a_worker_has_room_for_one_judge() -> None:
    resources = container(CLUSTER["workerGroupSpecs"][0])["resources"]
    assert float(option("--cpus-per-actor")) <= float(resources["limits"]["cpu"])
    assert float(option("--gpus-per-actor")) <= resources["limits"]["nvidia.com/gpu"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_its_ray_is_the_one_of_the_image() -> None:
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    assert f"ray=={CLUSTER['rayVersion']}\n" in pins
    assert len({container(group)["image"] for group in GROUPS}) == 1
    extras = re.search(r"EXTRAS=(\w+)", (ROOT / "helm" / "kuberay" / "label-job.yaml").read_text("utf-8"))
    assert extras is not None
    assert re.search(rf"^{extras.group(1)} = ", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("number", range(len(GROUPS)))
def test_its_pods_are_pods_to_kubernetes(number: int) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": GROUPS[number]["template"]["spec"]}
    kubernetes_validate.validate(pod, "1.27", strict=True)
    kubernetes_validate.validate(CLAIM, "1.27", strict=True)
