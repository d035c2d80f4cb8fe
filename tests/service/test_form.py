"""`POST /v1/judge` as a multipart form: files, numbers written as text, and malformed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from service.schemas import ErrorBody

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp, RecordingEngine

TEXTS = {"question": "How many discs?", "response_a": "One.", "response_b": "Three."}


def read_error(response: httpx.Response) -> tuple[int, str, str | None]:
    error = ErrorBody.model_validate_json(response.content).error
    return response.status_code, error.code, error.param


async def test_a_form_is_judged_as_the_same_request_in_json(
    client: httpx.AsyncClient, make_image: MakeImage, make_body: MakeBody
) -> None:
    form = await client.post("/v1/judge", data=TEXTS, files={"image": ("photo.png", make_image())})
    sent = await client.post("/v1/judge", json=make_body(make_image(), **TEXTS))
    assert form.status_code == 200, form.text
    assert form.json()["probabilities"] == sent.json()["probabilities"]


async def test_several_files_reach_the_engine_in_order(
    open_app: OpenApp, make_image: MakeImage, recording_engine: RecordingEngine
) -> None:
    sizes = [(30, 40), (50, 60), (70, 80)]
    files = [("image", ("same-name.png", make_image(size=size))) for size in sizes]
    async with open_app(recording_engine) as client:
        response = await client.post("/v1/judge", data=TEXTS, files=files)
    assert response.status_code == 200, response.text
    assert [image.size for image in recording_engine.prompts[0].images] == sizes


async def test_the_plural_name_is_taken_too(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    files = [("images", make_image()), ("images", make_image("JPEG"))]
    assert (await client.post("/v1/judge", data=TEXTS, files=files)).status_code == 200


async def test_numbers_are_read_from_text(
    open_app: OpenApp, make_image: MakeImage, recording_engine: RecordingEngine
) -> None:
    options = {"samples": "2", "temperature": "0.5", "seed": "9", "max_tokens": "40", "stream": "false"}
    async with open_app(recording_engine) as client:
        response = await client.post("/v1/judge", data={**TEXTS, **options}, files={"image": make_image()})
    assert response.status_code == 200, response.text
    sampling = recording_engine.samplings[0]
    assert (sampling.temperature, sampling.seed, sampling.max_tokens) == (0.5, 9, 40)


async def test_a_file_s_name_and_type_do_not_matter(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    files = {"image": ("virus.exe", make_image("WEBP"), "application/x-msdownload")}
    assert (await client.post("/v1/judge", data=TEXTS, files=files)).status_code == 200


async def test_a_file_under_another_name_is_refused(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    files = {"image": make_image(), "attachment": make_image()}
    response = await client.post("/v1/judge", data=TEXTS, files=files)
    assert read_error(response) == (422, "invalid_value", "attachment")


async def test_an_image_field_of_text_says_how_to_attach_a_file(client: httpx.AsyncClient) -> None:
    parts = {name: (None, text) for name, text in {**TEXTS, "image": "photo.png"}.items()}
    response = await client.post("/v1/judge", files=parts)
    assert read_error(response) == (422, "invalid_value", "image")
    assert "-F image=@photo.png" in response.text


async def test_a_file_in_place_of_text_is_refused(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    files = {"image": ("photo.png", make_image()), "question": ("question.txt", b"How many?")}
    texts = {name: text for name, text in TEXTS.items() if name != "question"}
    response = await client.post("/v1/judge", data=texts, files=files)
    assert read_error(response) == (422, "invalid_value", "question")


async def test_a_field_that_is_sent_twice_is_refused(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    data = {**TEXTS, "question": ["How many?", "What colour?"]}
    response = await client.post("/v1/judge", data=data, files={"image": make_image()})
    assert read_error(response) == (422, "invalid_value", "question")


async def test_a_form_without_a_file_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/judge", files={name: (None, text) for name, text in TEXTS.items()})
    assert read_error(response) == (422, "missing_field", "image")


async def test_an_unknown_form_field_is_refused(client: httpx.AsyncClient, make_image: MakeImage) -> None:
    response = await client.post("/v1/judge", data={**TEXTS, "judge": "me"}, files={"image": make_image()})
    assert read_error(response) == (422, "unknown_field", "judge")


@pytest.mark.parametrize(("field", "value"), [("samples", "many"), ("stream", "perhaps"), ("temperature", "nan")])
async def test_a_form_value_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, make_image: MakeImage, field: str, value: str
) -> None:
    response = await client.post("/v1/judge", data={**TEXTS, field: value}, files={"image": make_image()})
    assert read_error(response) == (422, "invalid_value", field)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=xyz"])
async def test_a_body_that_is_no_form_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post("/v1/judge", content=b"no form at all", headers={"Content-Type": kind})
    assert read_error(response)[:2] == (422, "invalid_multipart")


async def test_a_declared_charset_that_cannot_be_decoded_from_is_refused(
    client: httpx.AsyncClient, make_image: MakeImage
) -> None:
    request = client.build_request("POST", "/v1/judge", data=TEXTS, files={"image": make_image()})
    request.headers["Content-Type"] += "; charset=undefined"
    assert read_error(await client.send(request))[:2] == (422, "invalid_multipart")


@pytest.mark.parametrize("name", ["+2AA-", "twice+2AA-"])
async def test_a_refused_field_whose_name_has_half_of_a_surrogate_pair_is_named_all_the_same(
    client: httpx.AsyncClient, make_image: MakeImage, name: str
) -> None:
    """In UTF-7, `+2AA-` is U+D800 alone, which no answer can hold."""
    for files in ([(name, b"x")], [(name, (None, "x"))] * 2):
        request = client.build_request(
            "POST", "/v1/judge", data=TEXTS, files=[*files, ("image", ("photo.png", make_image()))]
        )
        request.headers["Content-Type"] += "; charset=utf-7"
        assert read_error(await client.send(request)) == (422, "invalid_value", name.replace("+2AA-", "?"))


async def test_a_response_of_100000_characters_in_a_form_is_refused_with_413(
    client: httpx.AsyncClient, make_image: MakeImage
) -> None:
    data = {**TEXTS, "response_b": "x" * 100_000}
    response = await client.post("/v1/judge", data=data, files={"image": make_image()})
    assert read_error(response) == (413, "text_too_long", "response_b")


async def test_a_bad_file_is_refused_with_its_field(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/judge", data=TEXTS, files={"image": b"not an image"})
    assert read_error(response) == (415, "invalid_image", "image")
