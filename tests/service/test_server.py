"""The process around the application, as a process of its own: port, start line, signals, end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from service.errors import StartError
from service.server import format_url, open_metrics_port, open_port
from service.settings import load_settings

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody

SCRIPT = """
import asyncio
import sys
import time
import typer
from genrm.engines.fake import FakeEngine
from genrm.errors import GenRMError, ModelLoadError
from service.app import create_app
from service.logs import configure_logs
from service.server import format_url, open_metrics_port, open_port, run_server
from service.settings import load_settings


class Broken(FakeEngine):
    async def start(self):
        raise ModelLoadError("The folder is empty. Name another one.")


class Buggy(FakeEngine):
    async def start(self):
        raise ZeroDivisionError


class Stuck(FakeEngine):
    async def start(self):
        await asyncio.to_thread(time.sleep, 3600)


kind, delay = sys.argv[1:]
engines = {"fake": FakeEngine(delay_seconds=float(delay)), "broken": Broken(), "buggy": Buggy(), "stuck": Stuck()}
settings = load_settings(port=0, shutdown_delay_seconds=1.5, log_format="json")
configure_logs(settings)
with open_port(settings.host, settings.port) as listener:
    url = format_url(listener)
    metrics = open_metrics_port(settings)
    metrics_url = format_url(metrics) if metrics else None
    if kind == "stuck":
        typer.echo(f"loading at {url} (metrics: {metrics_url} )")
    app = create_app(settings, lambda *_: engines[kind], lambda *_: None)
    try:
        run_server(app, settings, listener, lambda life: typer.echo(life.describe_start(url, metrics_url)), metrics)
    except GenRMError as error:
        sys.exit(f"refused: {error}")
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the script above; whatever still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []
    script = tmp_path / "serve_fake.py"
    script.write_text(SCRIPT, "utf-8")

    def start_(kind: str = "fake", *, delay_seconds: float = 0.0, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), kind, str(delay_seconds)]
        root = Path(__file__).parents[2]
        environment = {"PYTHONPATH": str(root), "GENRM_DATABASE_URL": "none", **variables}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        return process

    yield start_
    for process in processes:
        process.kill()
        process.communicate()


def read_url(process: subprocess.Popen[str]) -> str:
    """The address in the start line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    return next(word for word in line.split() if word.startswith("http://"))


def test_one_line_is_printed_when_the_model_is_ready(start: Start) -> None:
    process = start()
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("fake is ready at http://127.0.0.1:")
    assert "/docs" in line
    process.send_signal(signal.SIGINT)
    rest, log = process.communicate(timeout=300)
    assert rest == ""
    assert process.returncode == 0, log


def test_on_sigterm_readiness_ends_first_and_what_runs_is_finished(start: Start, make_body: MakeBody) -> None:
    process = start(delay_seconds=4)
    url = read_url(process)
    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{url}/v1/judge", json=make_body(), timeout=300))
    )
    asking.start()
    wait_for(lambda: "genrm_requests_running 1.0" in httpx.get(f"{url}/metrics", timeout=60).text)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: httpx.get(f"{url}/readyz", timeout=60).status_code == 503)
    asking.join(300)
    _, log = process.communicate(timeout=300)
    assert [answer.status_code for answer in answers] == [200]
    assert process.returncode == 0, log
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez")


def read_urls(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The address in the start line, and that of the metrics."""
    assert process.stdout is not None
    line = process.stdout.readline()
    url, *_, metrics_url = re.findall(r"http://127\.0\.0\.1:\d+", line)
    return url, metrics_url


def test_metrics_on_a_port_of_their_own_are_nowhere_else_and_alone_there(start: Start, make_body: MakeBody) -> None:
    process = start(GENRM_METRICS_PORT="0")
    url, metrics_url = read_urls(process)
    assert url != metrics_url
    httpx.post(f"{url}/v1/judge", json=make_body(), timeout=60)
    answer = httpx.get(f"{metrics_url}/metrics", timeout=60)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'genrm_request_duration_seconds_count{route="/v1/judge",status="200"} 1.0' in answer.text
    assert httpx.get(f"{url}/metrics", timeout=60).status_code == 404
    assert "/metrics" not in httpx.get(f"{url}/openapi.json", timeout=60).json()["paths"]
    for path in ("/", "/livez", "/v1/models", "/docs"):
        assert httpx.get(f"{metrics_url}{path}", timeout=60).status_code == 404
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log


def test_metrics_on_their_own_port_are_there_while_the_model_loads(start: Start) -> None:
    process = start("stuck", GENRM_METRICS_PORT="0")
    _, metrics_url = read_urls(process)
    wait_for(lambda: "genrm_ready 0.0" in read_text(f"{metrics_url}/metrics"))
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log


def test_metrics_on_their_own_port_are_there_until_what_runs_has_finished(start: Start, make_body: MakeBody) -> None:
    process = start(delay_seconds=6, GENRM_METRICS_PORT="0")
    url, metrics_url = read_urls(process)
    asking = threading.Thread(target=lambda: httpx.post(f"{url}/v1/judge", json=make_body(), timeout=300))
    asking.start()
    wait_for(lambda: "genrm_requests_running 1.0" in read_text(f"{metrics_url}/metrics"))
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: read_text(f"{url}/livez") == "")  # the service's port is closed
    assert "genrm_requests_running 1.0" in read_text(f"{metrics_url}/metrics")
    asking.join(300)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert read_text(f"{metrics_url}/metrics") == ""


def read_text(url: str) -> str:
    """What is at a URL; nothing where nobody listens."""
    try:
        return httpx.get(url, timeout=60).text
    except httpx.TransportError:
        return ""


def test_on_sigterm_a_model_that_still_loads_is_not_waited_for(start: Start) -> None:
    process = start("stuck")
    url = read_url(process)
    wait_for(lambda: httpx.get(f"{url}/readyz", timeout=60).json()["status"] == "loading")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def test_a_model_that_cannot_be_loaded_ends_the_process_with_its_message(start: Start) -> None:
    process = start("broken")
    out, log = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    assert "refused: The folder is empty. Name another one." in log
    assert "Traceback" not in log


def test_an_unforeseen_failure_to_load_ends_the_process_and_is_in_the_log(start: Start) -> None:
    process = start("buggy")
    _, log = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "ZeroDivisionError" in log
    assert "refused: The model could not be loaded" in log


def test_requests_are_logged_as_json_lines_on_standard_error(start: Start) -> None:
    process = start()
    url = read_url(process)
    httpx.get(f"{url}/v1/models", headers={"X-Request-Id": "find-me"}, timeout=60)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=300)
    (line,) = [line for line in log.splitlines() if "find-me" in line]
    assert line.startswith("{")
    assert '"event": "request"' in line


def test_a_busy_port_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} on 127\.0\.0\.1 is in use.*--port"):
            open_port("127.0.0.1", port)


def test_a_busy_port_for_metrics_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} on 127\.0\.0\.1 is in use.*with GENRM_METRICS_PORT"):
            open_metrics_port(load_settings(metrics_port=port))
    with pytest.raises(StartError, match=r"192\.0\.2\.1.*with GENRM_METRICS_HOST"):
        open_metrics_port(load_settings(metrics_port=0, metrics_host="192.0.2.1"))


def test_without_a_port_of_their_own_metrics_take_none() -> None:
    assert open_metrics_port(load_settings(metrics_host="192.0.2.1")) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "ä" * 70, "a\0b"])
def test_an_address_of_another_machine_is_refused_with_the_setting(host: str) -> None:
    with pytest.raises(StartError, match="GENRM_HOST"):
        open_port(host, 0)


def test_port_0_takes_a_free_one() -> None:
    with open_port("127.0.0.1", 0) as listener:
        assert format_url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_open_service_is_named_by_an_address_that_a_browser_takes() -> None:
    with open_port("0.0.0.0", 0) as listener:  # noqa: S104 - the point of the test
        assert format_url(listener).startswith("http://127.0.0.1:")


def test_an_ipv6_address_is_put_in_brackets() -> None:
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(open_port("::1", 0))
        except StartError:
            pytest.skip("this machine has no IPv6")
        assert format_url(listener).startswith("http://[::1]:")
