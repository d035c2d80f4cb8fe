"""The spoilt requests of `bench/fuzz.py`, and how answers to them are judged."""

from __future__ import annotations

import io
import json
from random import Random

import pytest
from PIL import Image

from bench.distinct_requests import KINDS, RequestSource
from bench.fuzz import find_fault
from bench.mutations import Spoilt, build_body_request, build_picture_request, draw_pictures, spoil_picture
from bench.raw_http import Answer
from bench.serving import SAMPLES

REQUEST = Spoilt(kind="json", wire=b"POST / HTTP/1.1\r\n\r\n")


def make_all(seed: int) -> list[Spoilt]:
    random, files = Random(seed), draw_pictures()
    made = [build_picture_request(random, spoil_picture(random, files), "id") for _ in range(100)]
    return [*made, *(build_body_request(random, files[0], "id") for _ in range(100))]


def test_every_format_is_drawn() -> None:
    formats = [Image.open(io.BytesIO(file)).format for file in draw_pictures()]
    assert set(formats) == {"PNG", "JPEG", "WEBP", "GIF"}


def test_requests_differ_from_each_other_and_follow_from_the_seed() -> None:
    made = [spoilt.wire for spoilt in make_all(1)]
    assert len(set(made)) > 150
    assert made == [spoilt.wire for spoilt in make_all(1)]
    assert made != [spoilt.wire for spoilt in make_all(2)]


def test_every_request_of_a_load_has_a_picture_and_a_question_of_its_own() -> None:
    source = RequestSource(SAMPLES)
    bodies = [json.loads(source.make("critique").wire.partition(b"\r\n\r\n")[2]) for _ in range(30)]
    assert len({body["image"]["url"] for body in bodies}) == 30
    assert len({body["question"] for body in bodies}) == 30
    for kind in KINDS:
        assert source.make(kind).wire.startswith(b"POST /")


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (200, b'{"preferred": "A"}', None),
        (422, b'{"error": {"code": "invalid_json"}}', None),
        (503, b'{"error": {"code": "overloaded"}}', None),
        (504, b'{"error": {"code": "deadline_exceeded"}}', None),
        (503, b'{"error": {"code": "engine_failed"}}', "a server error"),
        (500, b'{"error": {"code": "internal_error"}}', "a server error"),
        (422, b'{"error": {"code": "new"}}', "an error with an unknown code"),
        (400, b"Invalid HTTP request received.", "an error that is not in our shape"),
        (415, b'{"error": {"code": "invalid_image", "message": "PIL.UnidentifiedImageError"}}', "insides in an answer"),
        (415, b'{"error": {"message": "<_io.BytesIO object at 0x7f33a5e8f1d0>"}}', "insides in an answer"),
        (422, b'{"error": {"message": "/usr/lib/python3/x.py"}}', "insides in an answer"),
    ],
)
def test_an_answer_is_judged_by_status_shape_and_words(status: int, body: bytes, fault: str | None) -> None:
    answer = Answer(sent=0, ended=1, status=status, body=body, headers={"content-type": "application/json"})
    assert find_fault(REQUEST, answer) == fault


def test_no_answer_is_a_fault_unless_the_request_promised_more_than_it_sent() -> None:
    silence = Answer(sent=0, ended=1, failure="timed_out")
    assert find_fault(REQUEST, silence) == "no answer"
    assert find_fault(Spoilt(kind="framing", wire=b"", is_framed=False), silence) is None
