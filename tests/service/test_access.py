"""Admission as routes use it: before the body is read, for both routes, until a stream's end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from genrm.engines.fake import FakeEngine
from service.admission import Throughput
from service.app import create_app
from service.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.admission import Admission
    from tests.service.conftest import HangingEngine, MakeBody, OpenApp

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def full(
    open_app: OpenApp, hanging_engine: HangingEngine, make_body: MakeBody
) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that takes one judgement at once, and has it."""
    async with open_app(hanging_engine, max_queue=1) as client:
        running = asyncio.create_task(client.post("/v1/judge", json=make_body()))
        await asyncio.to_thread(hanging_engine.asked.wait, 60)
        yield client
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/verify"])
async def test_a_full_replica_refuses_before_the_body_is_read(full: httpx.AsyncClient, path: str) -> None:
    response = await full.post(path, content=b"{nonsense", headers=JSON)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (503, "overloaded", "unavailable_error")
    assert "GENRM_MAX_QUEUE" in error["message"]
    assert int(response.headers["Retry-After"]) >= 1
    assert 'genrm_rejections_total{reason="overloaded"} 1.0' in (await full.get("/metrics")).text


async def test_a_full_replica_still_answers_what_costs_nothing(full: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz", "/v1/models", "/docs"):
        assert (await full.get(path)).status_code == 200


async def test_a_place_is_free_again_however_a_request_ends(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(max_queue=1) as client:
        for body, status in ((make_body(), 200), (make_body(question=""), 422), (make_body(stream=True), 200)) * 2:
            assert (await client.post("/v1/judge", json=body)).status_code == status


async def test_a_stream_holds_its_place_to_its_end(hanging_engine: HangingEngine, make_body: MakeBody) -> None:
    app = create_app(load_settings(request_timeout_seconds=6), lambda *_: hanging_engine, lambda *_: None)
    admission: Admission = app.state.admission
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await app.state.lifecycle.wait_until_loaded()
        streaming = asyncio.create_task(client.post("/v1/judge", json=make_body(stream=True)))
        await asyncio.to_thread(hanging_engine.asked.wait, 60)
        await asyncio.sleep(0.1)
        assert admission.num_admitted == 1
        await streaming
    assert admission.num_admitted == 0
    assert admission._throughput.seconds_per_judgement == 0  # its end was an error, which says nothing of speed


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/rewards/openrlhf"])
async def test_a_ranking_is_measured_by_all_that_it_judged_call_by_call(
    make_body: MakeBody, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    completed: list[int] = []
    monkeypatch.setattr(Throughput, "complete", lambda _, number: completed.append(number))
    app = create_app(load_settings(), lambda *_: FakeEngine(), lambda *_: None)
    transport = httpx.ASGITransport(app)
    texts = [f"There are {number} discs." for number in range(14)]
    image = make_body()["image"]
    body = (
        {"query": "How many?", "documents": texts, "image": image, "strategy": "all_pairs"}
        if path == "/v1/rerank"
        else {
            "query": [f"How many?{text}" for text in texts],
            "prompts": ["How many?"] * len(texts),
            "labels": [{"image": image["url"]}] * len(texts),
        }
    )
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await app.state.lifecycle.wait_until_loaded()
        answer = await client.post(path, json=body, params={"strategy": "all_pairs"})
    assert answer.status_code == 200, answer.text
    assert max(completed) == 32
    assert sum(completed) == 91


async def test_what_a_judgement_took_is_measured(make_body: MakeBody) -> None:
    app = create_app(load_settings(), lambda *_: FakeEngine(), lambda *_: None)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await app.state.lifecycle.wait_until_loaded()
        await client.post("/v1/judge", json=make_body(question=""))
        assert app.state.admission._throughput.seconds_per_judgement == 0
        await client.post("/v1/judge", json=make_body())
        assert app.state.admission._throughput.seconds_per_judgement > 0
