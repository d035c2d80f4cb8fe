"""Pixels of all requests together: who waits holds them, and gives them back."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from genrm.engines.fake import FakeEngine
from service.errors import RefusalError
from service.pixel_budget import PixelBudget

if TYPE_CHECKING:
    import httpx

    from tests.service.conftest import MakeImage, OpenApp


def test_what_a_request_took_is_given_back_at_its_end() -> None:
    budget = PixelBudget(100)
    with budget.open() as one, budget.open() as other:
        one.take(60)
        with pytest.raises(RefusalError, match="GENRM_MAX_WAITING_PIXELS") as refusal:
            other.take(41)
        assert (refusal.value.code, refusal.value.retry_after_seconds) == ("overloaded", 1)
        other.take(40)
        assert budget.num_held == 100
    assert budget.num_held == 0


def test_a_thread_that_outlives_its_request_takes_nothing() -> None:
    budget = PixelBudget(100)
    with budget.open() as share:
        pass
    with pytest.raises(RefusalError, match="ended before"):
        share.take(50)
    assert budget.num_held == 0


def test_a_request_that_is_alone_is_taken_whatever_its_size() -> None:
    budget = PixelBudget(1)
    with budget.open() as share:
        share.take(80)
        share.take(20)  # a second picture of the same request
        assert budget.num_held == 100
    assert budget.num_held == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_beside_too_many_pixels_is_told_to_come_back(
    open_app: OpenApp, make_image: MakeImage, *, stream: bool
) -> None:
    url = "data:image/png;base64," + base64.b64encode(make_image(size=(40, 40))).decode()
    body = {"image": {"url": url}, "question": "q", "response_a": "a", "response_b": "b", "stream": stream}
    async with open_app(FakeEngine(delay_seconds=0.5), max_waiting_pixels=2000) as client:

        async def judge() -> httpx.Response:
            return await client.post("/v1/judge", json=body)

        answers = await asyncio.gather(judge(), judge(), judge())
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["Retry-After"] == "1"
        assert (await judge()).status_code == 200
