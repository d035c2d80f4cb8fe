"""Request ids, the one log line per request, and the last net for bugs."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from genrm.engines.fake import FakeEngine
from service.request_record import choose_request_id

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, MakeBody, OpenApp, Serve


def find_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "service.request_log"]


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "service")


async def test_a_caller_s_request_id_is_echoed(client: httpx.AsyncClient) -> None:
    response = await client.get("/livez", headers={"X-Request-Id": "job-7:row.12_a"})
    assert response.headers["X-Request-Id"] == "job-7:row.12_a"


async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = {(await client.get(url)).headers["X-Request-Id"] for url in ("/livez", "/livez", "/nowhere", "/metrics")}
    assert len(ids) == 4


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "ümlaut", "a\nb", "<script>", "a,b"])
def test_an_id_that_could_harm_a_log_is_replaced(given: str | None) -> None:
    chosen = choose_request_id(given)
    assert chosen != given
    assert len(chosen) == 32
    assert chosen.isalnum()


async def test_a_judgement_is_one_line_with_its_facts(
    client: httpx.AsyncClient, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.post("/v1/judge", json=make_body(), headers={"X-Request-Id": "r1"})
    (line,) = find_lines(caplog)
    facts = vars(line)
    assert line.message == "request"
    assert (facts["method"], facts["route"], facts["status"], facts["request_id"]) == ("POST", "/v1/judge", 200, "r1")
    assert facts["duration_ms"] > 0
    assert facts["mode"] == "critique"
    assert facts["preferred"] == response.json()["preferred"]
    assert facts["completion_tokens"] == response.json()["usage"]["completion_tokens"]


async def test_no_line_holds_texts_or_images(
    client: httpx.AsyncClient, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    body = make_body(question="A secret question?", response_a="A secret answer.", id="a secret id")
    await client.post("/v1/judge", json=body)
    await client.post("/v1/judge", json={**body, "mode": "secret mode"})
    await client.post("/v1/judge", json={**body, "stream": True})
    assert len(find_lines(caplog)) == 3
    everything = " ".join(str(vars(line)) for line in caplog.records)
    assert "secret" not in everything
    assert body["image"]["url"][30:60] not in everything


async def test_a_refusal_is_logged_with_its_kind(
    client: httpx.AsyncClient, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post("/v1/judge", json=make_body(question=""))
    (line,) = find_lines(caplog)
    assert (vars(line)["status"], vars(line)["error"]) == (422, "invalid_value")


async def test_health_checks_are_quiet_while_all_is_well(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/livez")
    await client.get("/v1/models")
    assert [line.levelname for line in find_lines(caplog)] == ["DEBUG", "INFO"]


async def test_a_bug_is_answered_in_our_shape_and_logged_with_its_details(
    open_app: OpenApp, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(FakeEngine(failure=ZeroDivisionError("the address 0x7f"))) as client:
        response = await client.post("/v1/judge", json=make_body(), headers={"X-Request-Id": "r2"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "0x7f" not in response.text
    assert response.headers["X-Request-Id"] == "r2"
    assert "r2" in caplog.text
    assert "the address 0x7f" in caplog.text


async def test_a_stream_is_logged_when_it_ends(
    client: httpx.AsyncClient, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post("/v1/judge", json=make_body(stream=True))
    (line,) = find_lines(caplog)
    assert vars(line)["verdict"] == "decided"


def test_a_request_that_outlasts_the_shutdown_is_answered_in_our_shape(
    serve: Serve, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/v1/judge", json=make_body(), headers={"X-Request-Id": "r3"}, timeout=300))

    with serve(hanging_engine, shutdown_timeout_seconds=1) as live:
        asking = threading.Thread(target=ask, args=(live.url,))
        asking.start()
        assert hanging_engine.asked.wait(60)
    asking.join(300)
    (answer,) = answers
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    assert answer.headers["X-Request-Id"] == "r3"
    assert answer.headers["Retry-After"] == "1"
