"""A real Prometheus that scrapes a real service, and the folder whose files are tested."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from genrm.shipped import judge_folder
from service.client import Client, ServiceError

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SAMPLES = ROOT / "genrm" / "samples"
DEADLINE_SECONDS = 180


@dataclass(frozen=True)
class Monitored:
    """A Prometheus with some traffic of a judge in it."""

    prometheus: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now. Fails the test, with Prometheus' words, if it is not taken."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it never happened"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A process of ours, its output in a file; ended afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENRM_")}
    environment["GENRM_DATABASE_URL"] = "none"
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def write_fast_config(folder: Path, target: str) -> Path:
    """The shipped configuration with its rules, at one scrape a second, of a service at `target`."""
    shutil.copytree(DOCKER / "prometheus" / "rules", folder / "rules")
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    return file


def send_traffic(url: str) -> None:
    """Comparisons of the samples, several at once, some streamed, and one that is refused."""
    rows: list[Mapping[str, Any]] = [
        json.loads(line) for line in (SAMPLES / "rows.jsonl").read_text("utf-8").splitlines()
    ]
    with Client(url, timeout_seconds=300) as client:

        def judge(row: Mapping[str, Any]) -> None:
            a, b = row["response"]
            client.judge(SAMPLES / row["image"], question=row["query"], a=a, b=b)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(judge, rows))
        a, b = rows[0]["response"]
        list(client.stream(SAMPLES / rows[0]["image"], question=rows[0]["query"], a=a, b=b))
        with pytest.raises(ServiceError):
            client.judge(SAMPLES / rows[0]["image"], question="", a=a, b=b)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """`vl-genrm serve` and Prometheus, both on loopback ports, after two rounds of traffic that are scraped apart."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus on this machine; Debian's package 'prometheus' has it")
    if not (judge_folder() / "config.json").is_file():
        pytest.skip("the shipped judge is not built; 'vl-genrm pocket build' makes it")
    folder = tmp_path_factory.mktemp("prometheus")
    service_port, prometheus_port = find_free_port(), find_free_port()
    service, prometheus = f"http://127.0.0.1:{service_port}", f"http://127.0.0.1:{prometheus_port}"
    config = write_fast_config(folder, f"127.0.0.1:{service_port}")
    serve = [sys.executable, "-m", "genrm.cli", "serve", "--port", str(service_port), "--device", "cpu"]
    scrape = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{prometheus_port}",
    ]
    with running(serve, folder / "service.log"), running(scrape, folder / "prometheus.log"):
        wait_for(lambda: answers(f"{service}/readyz"), f"the service, see {folder}/service.log")
        wait_for(lambda: answers(f"{prometheus}/-/ready"), f"Prometheus, see {folder}/prometheus.log")
        with httpx.Client(base_url=prometheus, timeout=60) as client:
            state = Monitored(client)
            for num_rounds in (1, 2):
                send_traffic(service)
                wanted = num_rounds * (len((SAMPLES / "rows.jsonl").read_text("utf-8").splitlines()) + 1)
                wait_for(lambda wanted=wanted: count_verdicts(state) >= wanted, "the scrape of all verdicts")  # type: ignore[misc]
            wait_for(lambda: bool(state.query("job:genrm_unparsed:ratio_increase1h")), "the evaluation of the rules")
            yield state


def count_verdicts(state: Monitored) -> float:
    found = state.query("sum(genrm_verdicts_total)")
    return float(found[0]["value"][1]) if found else 0.0
