"""Who may ask: every path but health and metrics needs a key once there is one; what is refused, counted and logged."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from service.app import create_app
from service.authentication import OPEN_PATHS
from service.errors import StartError
from service.keys import hash_key
from service.settings import load_settings

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, MakeBody, OpenApp

KEY = "a-long-enough-key-1"
PAIRS = f"alice:{KEY}"
BEARER = {"Authorization": f"Bearer {KEY}"}


async def test_without_keys_everybody_may_ask(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [BEARER, {"Authorization": f"bearer  {KEY} "}, {"x-api-key": KEY}, {"Authorization": "Basic x", "x-api-key": KEY}],
)
async def test_a_key_opens_the_service_in_either_header(
    open_app: OpenApp, make_body: MakeBody, headers: dict[str, str]
) -> None:
    async with open_app(api_keys=PAIRS) as client:
        assert (await client.post("/v1/judge", json=make_body(), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer"}, "missing_api_key"),
        ({"Authorization": "Bearer  "}, "missing_api_key"),
        ({"Authorization": KEY}, "missing_api_key"),
        ({"Authorization": f"Basic {KEY}"}, "missing_api_key"),
        ({"x-api-key": ""}, "missing_api_key"),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Authorization": f"Bearer {hash_key(KEY)}"}, "invalid_api_key"),
        ({"x-api-key": KEY + "x"}, "invalid_api_key"),
    ],
)
async def test_without_the_right_key_the_answer_is_401_in_our_shape(
    open_app: OpenApp, headers: dict[str, str], code: str
) -> None:
    async with open_app(api_keys=PAIRS) as client:
        response = await client.get("/v1/models", headers=headers)
        metrics = (await client.get("/metrics")).text
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (401, code, "authentication_error")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["X-Request-Id"]
    assert f'genrm_rejections_total{{reason="{code}"}} 1.0' in metrics


async def test_every_path_but_health_and_metrics_needs_a_key(open_app: OpenApp) -> None:
    """Also those that do not exist: a stranger learns nothing."""
    async with open_app(api_keys=PAIRS) as client:
        document = (await client.get("/openapi.json", headers=BEARER)).json()
        for path in (*document["paths"], "/docs", "/openapi.json", "/nowhere", "/livez/", "//livez", "/livez/../docs"):
            for method in ("GET", "POST", "OPTIONS"):
                status = (await client.request(method, path)).status_code
                assert (status != 401) if path in OPEN_PATHS else (status == 401), (method, path, status)


async def test_a_body_is_not_read_for_a_stranger(open_app: OpenApp) -> None:
    async with open_app(api_keys=PAIRS) as client:
        response = await client.post("/v1/judge", content=b"{nonsense", headers={"Content-Type": "application/json"})
    assert response.status_code == 401


async def test_a_key_is_taken_back_by_removing_its_line(open_app: OpenApp, tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"alice:{hash_key(KEY)}\n")
    async with open_app(api_keys_file=str(path)) as client:
        assert (await client.get("/v1/models", headers=BEARER)).status_code == 200
        path.write_text("")
        assert (await client.get("/v1/models", headers=BEARER)).status_code == 401


def test_keys_that_cannot_be_read_are_an_error_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read"):
        create_app(load_settings(api_keys_file=str(tmp_path / "missing")))


async def test_the_log_has_the_key_s_name_and_never_the_key(
    open_app: OpenApp, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service")
    async with open_app(api_keys=PAIRS) as client:
        await client.post("/v1/judge", json=make_body(), headers=BEARER)
        await client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}-mistyped"})
    allowed, refused = (vars(record) for record in caplog.records if record.name == "service.request_log")
    assert (allowed["key"], allowed["status"]) == ("alice", 200)
    assert ("key" in refused, refused["error"]) == (False, "invalid_api_key")
    assert KEY not in " ".join(str(vars(record)) for record in caplog.records)


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(open_app: OpenApp) -> None:
    async with open_app(api_keys=PAIRS, requests_per_minute=2) as client:
        statuses = [(await client.get("/v1/models", headers=BEARER)).status_code for _ in range(2)]
        response = await client.get("/v1/models", headers=BEARER)
        assert (await client.get("/livez")).status_code == 200
    error = response.json()["error"]
    assert statuses == [200, 200]
    assert (response.status_code, error["code"], error["type"]) == (429, "rate_limited", "rate_limit_error")
    assert 1 <= int(response.headers["Retry-After"]) <= 30


async def test_a_key_with_too_many_requests_at_once_is_refused_until_one_ends(
    open_app: OpenApp, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    async with open_app(hanging_engine, api_keys=PAIRS, max_concurrent_per_key=1) as client:
        running = asyncio.create_task(client.post("/v1/judge", json=make_body(), headers=BEARER))
        await asyncio.to_thread(hanging_engine.asked.wait, 60)
        response = await client.get("/v1/models", headers=BEARER)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_requests_at_once")
        assert response.headers["Retry-After"] == "1"
        running.cancel()
        await asyncio.wait([running])
        assert (await client.get("/v1/models", headers=BEARER)).status_code == 200
