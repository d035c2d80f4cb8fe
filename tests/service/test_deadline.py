"""Requests whose time is over: by the settings, by their own header, in a stream; and headers that make no sense.

Where a judgement must have begun before its time is over, it has five seconds: a busy machine needs some to begin.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from service.deadline import NO_DEADLINE, Deadline, choose_timeout
from service.errors import RefusalError

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, MakeBody, OpenApp

HEADER = "X-Request-Timeout-Seconds"


async def test_work_in_time_is_let_alone() -> None:
    async with Deadline(started=time.perf_counter(), timeout_seconds=60).enforce():
        await asyncio.sleep(0)
    async with NO_DEADLINE.enforce():
        await asyncio.sleep(0)


async def test_work_that_is_late_is_cancelled_and_told_with_the_remedy() -> None:
    with pytest.raises(RefusalError, match=r"within 0\.01 s.*GENRM_REQUEST_TIMEOUT_SECONDS") as refusal:
        async with Deadline(started=time.perf_counter(), timeout_seconds=0.01).enforce():
            await asyncio.Event().wait()
    assert refusal.value.code == "deadline_exceeded"


async def test_a_timeout_of_somebody_else_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(started=time.perf_counter(), timeout_seconds=60).enforce():
            raise TimeoutError


@pytest.mark.parametrize(
    ("asked", "limit", "chosen"),
    [(None, None, None), (5.0, None, 5.0), (None, 7.0, 7.0), (5.0, 7.0, 5.0), (9.0, 7.0, 7.0)],
)
def test_the_shorter_time_holds(asked: float | None, limit: float | None, chosen: float | None) -> None:
    assert choose_timeout(asked, limit) == chosen


async def test_a_request_s_own_deadline_is_kept(
    open_app: OpenApp, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    async with open_app(hanging_engine) as client:
        response = await client.post("/v1/judge", json=make_body(), headers={HEADER: "5"})
        metrics = (await client.get("/metrics")).text
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (504, "deadline_exceeded", "timeout_error")
    assert hanging_engine.cancelled.is_set()
    assert 'genrm_rejections_total{reason="deadline_exceeded"} 1.0' in metrics
    assert "genrm_requests_running 0.0" in metrics


async def test_the_deadline_of_the_settings_needs_no_header(
    open_app: OpenApp, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    async with open_app(hanging_engine, request_timeout_seconds=0.5) as client:
        assert (await client.post("/v1/judge", json=make_body())).status_code == 504


async def test_a_stream_that_has_begun_ends_with_the_error_as_an_event(
    open_app: OpenApp, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    async with open_app(hanging_engine) as client:
        response = await client.post("/v1/judge", json=make_body(stream=True), headers={HEADER: "5"})
    assert response.status_code == 200
    assert "event: critique" in response.text
    assert response.text.rstrip().splitlines()[-2] == "event: error"
    assert '"deadline_exceeded"' in response.text


async def test_an_answer_in_time_is_the_same_as_without_deadline(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    response = await client.post("/v1/judge", json=make_body(), headers={HEADER: "300"})
    assert (response.status_code, response.json()["status"]) == (200, "decided")


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_timeout_that_is_none_is_refused(client: httpx.AsyncClient, make_body: MakeBody, given: str) -> None:
    response = await client.post("/v1/judge", json=make_body(), headers={HEADER: given})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "invalid_value")
    assert HEADER in error["message"]
