"""The Python clients against a real application: every kind of image, streams, models, and typed errors."""

from __future__ import annotations

import ast
import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from genrm.errors import InvalidImageError
from service import client as client_module
from service.client import AsyncClient, Client, CritiqueDelta, JudgeResponse, ServiceError
from service.exchange import EventReader, read_picture
from service.openapi import EXAMPLE_RESPONSE
from service.streaming import render_event

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, LiveServer, MakeImage, RecordingEngine, Serve

QUESTION = "How many discs?"
ONE = "One."
THREE = "Three."


def test_a_path_bytes_and_a_picture_are_judged_alike(live: LiveServer, make_image: MakeImage, tmp_path: Path) -> None:
    data = make_image()
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with Client(live.url) as client:
        verdicts = [
            client.judge(image, question=QUESTION, a=ONE, b=THREE)
            for image in (path, str(path), data, Image.open(io.BytesIO(data)))
        ]
    assert len({verdict.probabilities for verdict in verdicts if verdict.probabilities}) == 1


def test_several_images_and_all_options_are_sent(
    serve: Serve, recording_engine: RecordingEngine, make_image: MakeImage
) -> None:
    with serve(recording_engine) as live, Client(live.url) as client:
        verdict = client.judge(
            [make_image(size=(20, 30)), make_image(size=(40, 50))],
            question=QUESTION,
            a=ONE,
            b=THREE,
            mode="critique",
            samples=2,
            temperature=0.5,
            seed=3,
            max_tokens=50,
            model="fake",
            id="row-1",
        )
    assert isinstance(verdict, JudgeResponse)
    assert verdict.id == "row-1"
    assert [image.size for image in recording_engine.prompts[0].images] == [(20, 30), (40, 50)]
    sampling = recording_engine.samplings[0]
    assert (sampling.temperature, sampling.seed, sampling.max_tokens) == (0.5, 3, 50)


def test_the_order_of_responses_is_the_caller_s(live: LiveServer, make_image: MakeImage) -> None:
    with Client(live.url) as client:
        one = client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
        two = client.judge(make_image(), question=QUESTION, a=THREE, b=ONE)
    assert one.probabilities is not None
    assert two.probabilities is not None
    assert abs(one.probabilities.A - two.probabilities.B) < 1e-6


def test_a_stream_gives_deltas_and_ends_with_the_verdict(live: LiveServer, make_image: MakeImage) -> None:
    with Client(live.url) as client:
        *deltas, verdict = client.stream(make_image(), question=QUESTION, a=ONE, b=THREE)
    assert deltas
    assert all(isinstance(delta, CritiqueDelta) for delta in deltas)
    assert isinstance(verdict, JudgeResponse)


def test_models_are_listed_as_they_are_served(live: LiveServer) -> None:
    with Client(live.url) as client:
        assert [model.id for model in client.models()] == ["fake"]


def test_a_refusal_is_an_error_with_every_field_of_the_body(live: LiveServer, make_image: MakeImage) -> None:
    with Client(live.url) as client, pytest.raises(ServiceError) as refusal:
        client.judge(make_image(), question="", a=ONE, b=THREE)
    error = refusal.value
    assert (error.status, error.type, error.code) == (422, "invalid_request_error", "invalid_value")
    assert error.param == "question"
    assert str(error) == error.message
    assert error.request_id


def test_a_refused_stream_is_the_same_error(live: LiveServer, make_image: MakeImage) -> None:
    with Client(live.url) as client, pytest.raises(ServiceError) as refusal:
        next(client.stream(make_image(), question=QUESTION, a="", b=THREE))
    assert (refusal.value.status, refusal.value.param) == (422, "response_a")


def test_leaving_a_stream_early_cancels_it(serve: Serve, hanging_engine: HangingEngine, make_image: MakeImage) -> None:
    with serve(hanging_engine) as live, Client(live.url) as client:
        stream = client.stream(make_image(), question=QUESTION, a=ONE, b=THREE)
        assert next(stream) == CritiqueDelta(first="A", delta="Hm")
        stream.close()
        assert hanging_engine.cancelled.wait(60)


async def test_the_asyncio_client_does_the_same(live: LiveServer, make_image: MakeImage) -> None:
    async with AsyncClient(live.url) as client:
        verdict = await client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
        events = [event async for event in client.stream(make_image(), question=QUESTION, a=ONE, b=THREE)]
        models = await client.models()
        with pytest.raises(ServiceError) as refusal:
            await client.judge(b"no image", question=QUESTION, a=ONE, b=THREE)
        with pytest.raises(ServiceError):
            async for _ in client.stream(b"no image", question=QUESTION, a=ONE, b=THREE):
                pass
    assert isinstance(events[-1], JudgeResponse)
    assert events[-1].probabilities == verdict.probabilities
    assert [model.id for model in models] == ["fake"]
    assert (refusal.value.status, refusal.value.code) == (415, "invalid_image")


async def test_a_key_opens_a_service_that_wants_one(serve: Serve, make_image: MakeImage) -> None:
    key = "a-long-enough-key-1"
    with serve(api_keys=f"alice:{key}") as live:
        with Client(live.url, api_key=f"{key}\n") as client:
            client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
            assert list(client.stream(make_image(), question=QUESTION, a=ONE, b=THREE))
        async with AsyncClient(live.url, api_key=key) as client_of_loop:
            assert await client_of_loop.models()
        with Client(live.url, api_key="another") as client, pytest.raises(ServiceError) as refusal:
            client.models()
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("key", ["", " ", "schlüssel-zum-dienst", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ServiceError, match="printable ASCII") as refusal:
        Client("http://x", api_key=key)
    assert not key.strip() or key not in str(refusal.value)


def test_an_error_says_when_to_ask_again(serve: Serve, make_image: MakeImage) -> None:
    key = "a-long-enough-key-1"
    with serve(api_keys=f"alice:{key}", requests_per_minute=1) as live, Client(live.url, api_key=key) as client:
        client.models()
        with pytest.raises(ServiceError) as refusal:
            client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
    assert (refusal.value.status, refusal.value.code) == (429, "rate_limited")
    assert refusal.value.retry_after_seconds is not None
    assert 1 <= refusal.value.retry_after_seconds <= 60


def test_a_service_that_is_not_there_is_told_with_the_remedy() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="vl-genrm serve") as failure:
        client.models()
    assert (failure.value.status, failure.value.code) == (None, "connection_failed")


def test_a_service_that_is_silent_is_told_as_such(
    serve: Serve, hanging_engine: HangingEngine, make_image: MakeImage
) -> None:
    with (
        serve(hanging_engine) as live,
        Client(live.url, timeout_seconds=1) as client,
        pytest.raises(ServiceError) as failure,
    ):
        client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
    assert failure.value.code == "timed_out"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://example.com", ""])
def test_a_url_without_scheme_is_refused_at_once(url: str) -> None:
    with pytest.raises(ServiceError, match="must begin with http"):
        Client(url)


@pytest.mark.parametrize("url", ["http://host:port", "http://", "https://:8000", "http://[::1"])
def test_a_url_that_names_no_host_and_port_is_refused_at_once(url: str) -> None:
    with pytest.raises(ServiceError, match="names no host and port"):
        Client(url)


def answer(status: int, body: bytes, kind: str = "application/json") -> Callable[[httpx.Request], httpx.Response]:
    """A server that answers everything alike."""
    return lambda _: httpx.Response(status, content=body, headers={"Content-Type": kind, "X-Request-Id": "r1"})


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b'{"a": 1}'), (502, b"Bad Gateway"), (500, b"{}")]
)
def test_an_answer_of_something_else_is_told_as_such(status: int, body: bytes) -> None:
    with Client("http://x", transport=httpx.MockTransport(answer(status, body))) as client:
        with pytest.raises(ServiceError) as failure:
            client.judge(b"image", question=QUESTION, a=ONE, b=THREE)
        with pytest.raises(ServiceError):
            client.models()
    assert (failure.value.code, failure.value.status, failure.value.request_id) == ("not_understood", status, "r1")


def test_fields_of_a_newer_service_are_ignored(live: LiveServer, make_image: MakeImage) -> None:
    with Client(live.url) as client:
        known = client.judge(make_image(), question=QUESTION, a=ONE, b=THREE)
    newer = known.model_dump_json().replace('"usage":{', '"mood":"good","usage":{"joules":5,')
    with Client("http://x", transport=httpx.MockTransport(answer(200, newer.encode()))) as client:
        assert client.judge(b"image", question=QUESTION, a=ONE, b=THREE) == known


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'event: error\ndata: {"error": {"type": "t", "message": "m", "param": null, "code": "c"}}\n\n', "c"),
        (b'event: critique\ndata: {"first": "A", "delta": "x"}\n\n', "connection_failed"),
        (b"", "connection_failed"),
        (b"event: verdict\ndata: {}\n\n", "not_understood"),
    ],
)
def test_a_stream_without_verdict_is_an_error(body: bytes, code: str) -> None:
    transport = httpx.MockTransport(answer(200, body, "text/event-stream"))
    with Client("http://x", transport=transport) as client, pytest.raises(ServiceError) as failure:
        list(client.stream(b"image", question=QUESTION, a=ONE, b=THREE))
    assert failure.value.code == code
    assert failure.value.request_id == "r1"


SEPARATORS = "one\u2028two\u2029three\x85four\x0bfive\r\nsix"
EVENTS = [
    CritiqueDelta(first="A", delta=SEPARATORS),
    JudgeResponse.model_validate({**EXAMPLE_RESPONSE, "critique": SEPARATORS}),
]
STREAM = render_event("critique", EVENTS[0]) + b": a comment\n\n" + render_event("verdict", EVENTS[1])


async def test_only_a_line_feed_ends_a_line_of_a_stream() -> None:
    """Python ends lines at U+2028 and others too, which JSON leaves as they are."""
    transport = httpx.MockTransport(answer(200, STREAM, "text/event-stream"))
    with Client("http://x", transport=transport) as client:
        assert list(client.stream(b"image", question=QUESTION, a=ONE, b=THREE)) == EVENTS
    async with AsyncClient("http://x", transport=transport) as client_of_loop:
        events = client_of_loop.stream(b"image", question=QUESTION, a=ONE, b=THREE)
        assert [event async for event in events] == EVENTS


@pytest.mark.parametrize("num_bytes", [1, 7, 100_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_it_does_not_matter_how_a_stream_is_cut_into_pieces(num_bytes: int, line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    reader = EventReader(httpx.Response(200))
    pieces = [stream[start : start + num_bytes] for start in range(0, len(stream), num_bytes)]
    assert [event for piece in pieces for event in reader.read(piece)] == EVENTS
    reader.check_end()


def test_the_example_of_the_module_is_python() -> None:
    lines = (client_module.__doc__ or "").splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    assert [type(part) for part in ast.parse(example).body] == [ast.ImportFrom, ast.With, ast.Expr]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Client() as client, pytest.raises(InvalidImageError, match=r"no-such\.png"):
        client.judge(tmp_path / "no-such.png", question=QUESTION, a=ONE, b=THREE)


def test_no_image_is_refused_before_anything_is_sent() -> None:
    with Client() as client, pytest.raises(InvalidImageError, match="at least one"):
        client.judge([], question=QUESTION, a=ONE, b=THREE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "F", "YCbCr", "1"])
def test_a_picture_of_any_mode_can_be_sent(mode: str) -> None:
    data = read_picture(Image.new("RGB", (9, 9), "red").convert(mode))
    assert Image.open(io.BytesIO(data)).format == "PNG"
