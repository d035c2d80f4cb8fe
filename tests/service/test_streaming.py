"""Server-sent events: their names, their order, their content, and what happens when something fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, InputTooLongError
from service.schemas import CritiqueDelta, ErrorBody, JudgeResponse

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp


def read_events(response: httpx.Response) -> list[tuple[str, Any]]:
    """Names and data of a finished stream; comments are left out."""
    events = []
    for block in response.text.split("\n\n")[:-1]:
        if not block.startswith(":"):
            name, data = block.split("\n")
            events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def test_a_stream_is_critiques_and_then_one_verdict(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    response = await client.post("/v1/judge", json=make_body(stream=True))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    names = [name for name, _ in read_events(response)]
    assert set(names[:-1]) == {"critique"}
    assert names[-1] == "verdict"


async def test_the_verdict_of_a_stream_is_that_of_a_plain_request(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    streamed = read_events(await client.post("/v1/judge", json=make_body(stream=True, id="x")))[-1][1]
    plain = (await client.post("/v1/judge", json=make_body(id="x"))).json()
    for changing in ("created", "timings_ms"):
        del streamed[changing], plain[changing]
    assert streamed == plain


async def test_the_deltas_of_each_order_add_up_to_what_was_written(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    events = read_events(await client.post("/v1/judge", json=make_body(stream=True)))
    verdict = JudgeResponse.model_validate_json(json.dumps(events[-1][1]))
    deltas = [CritiqueDelta.model_validate(data) for name, data in events if name == "critique"]
    for reading in verdict.readings:
        written = "".join(delta.delta for delta in deltas if delta.first == reading.first)
        assert written.startswith(reading.critique)
        assert "Verdict:" in written


async def test_fast_mode_streams_the_verdict_at_once(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    events = read_events(await client.post("/v1/judge", json=make_body(stream=True, mode="fast")))
    assert events[-1][0] == "verdict"
    assert events[-1][1]["critique"] == ""


async def test_a_form_can_be_streamed(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    texts = {"question": "How many?", "response_a": "One.", "response_b": "Two.", "stream": "true"}
    response = await client.post("/v1/judge", data=texts, files={"image": make_image()})
    assert read_events(response)[-1][0] == "verdict"


@pytest.mark.parametrize(
    ("fields", "status"), [({"question": ""}, 422), ({"samples": 0}, 422), ({"response_a": "x" * 50_000}, 413)]
)
async def test_what_is_wrong_with_the_request_is_a_status_and_no_stream(
    client: httpx.AsyncClient, make_body: MakeBody, fields: dict[str, Any], status: int
) -> None:
    response = await client.post("/v1/judge", json=make_body(stream=True, **fields))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"


class FailingLate(FakeEngine):
    """Writes a word and then fails."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Fail after a while."""
        assert on_text is not None
        on_text(0, "Hm")
        await asyncio.sleep(0.05)
        raise EngineError("the address of a tensor")


async def test_what_fails_inside_a_stream_is_its_last_event(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FailingLate()) as client:
        response = await client.post("/v1/judge", json=make_body(stream=True))
    assert response.status_code == 200
    (critique, _), (name, data) = read_events(response)
    assert (critique, name) == ("critique", "error")
    assert ErrorBody.model_validate(data).error.code == "engine_failed"
    assert "tensor" not in response.text


class FailingInSilence(FakeEngine):
    """Writes nothing for a while and then fails."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Fail after a while."""
        await asyncio.sleep(0.5)
        raise EngineError("the address of a tensor")


async def test_what_fails_after_a_comment_was_sent_is_an_event_too(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FailingInSilence(), keep_alive_seconds=0.02) as client:
        response = await client.post("/v1/judge", json=make_body(stream=True))
    assert response.status_code == 200
    assert response.text.startswith(": still judging\n\n")
    ((name, data),) = read_events(response)
    assert (name, data["error"]["code"]) == ("error", "engine_failed")


@pytest.mark.parametrize(
    ("failure", "status"),
    [(EngineError("x"), 503), (InputTooLongError("The prompt is too long."), 413), (ZeroDivisionError("x"), 500)],
)
async def test_what_fails_before_the_first_word_has_its_status(
    open_app: OpenApp, make_body: MakeBody, failure: Exception, status: int
) -> None:
    async with open_app(FakeEngine(failure=failure)) as client:
        response = await client.post("/v1/judge", json=make_body(stream=True))
    assert response.status_code == status
    assert ErrorBody.model_validate_json(response.content).error.message.endswith(".")


async def test_an_idle_stream_is_kept_open_by_comments(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FakeEngine(delay_seconds=0.5), keep_alive_seconds=0.02) as client:
        response = await client.post("/v1/judge", json=make_body(stream=True, mode="fast"))
    assert response.text.startswith(": still judging\n\n")
    assert read_events(response)[-1][0] == "verdict"


async def test_the_time_to_the_first_text_is_counted(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    await client.post("/v1/judge", json=make_body(stream=True))
    assert "genrm_time_to_first_token_seconds_count 1.0" in (await client.get("/metrics")).text
