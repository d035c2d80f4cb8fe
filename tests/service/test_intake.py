"""Data URLs: what counts as one, strict base64, and limits before decoding."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.media import ImageLimits, decode_image
from service.errors import RefusalError
from service.intake import Picture, decode_pictures, read_data_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from tests.service.conftest import MakeImage

LIMITS = ImageLimits()


@given(st.binary(max_size=200))
def test_what_was_encoded_is_decoded(data: bytes) -> None:
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert read_data_url(url, "image.url", LIMITS) == data


@pytest.mark.parametrize(
    "header",
    ["data:image/png;base64,", "data:;base64,", "DATA:image/jpeg;BASE64,", "data:text/plain;charset=utf-8;base64,"],
)
def test_the_declared_type_is_not_believed_and_does_not_matter(header: str) -> None:
    assert read_data_url(header + "AAAA", "image.url", LIMITS) == b"\0\0\0"


@given(st.text(max_size=60))
def test_any_other_text_is_refused_and_not_an_error_of_ours(text: str) -> None:
    with pytest.raises(RefusalError) as refusal:
        read_data_url(text, "image.url", LIMITS)
    assert refusal.value.param == "image.url"
    assert refusal.value.code in ("invalid_value", "remote_image_refused")


@pytest.mark.parametrize("url", ["data:" + "a" * 5_000_000, "data:a/" + ";a=" * 2_000_000, "a" * 5_000_000])
def test_a_header_without_end_costs_no_more_than_a_short_one(url: str) -> None:
    """Looked at as a whole, with a pattern that can split it in many ways, the first of these would take days."""
    with pytest.raises(RefusalError, match=r"only 'data:image/png;base64,…' and its like"):
        read_data_url(url, "image.url", LIMITS)


def test_a_header_of_more_than_200_characters_is_refused() -> None:
    for num_characters, is_refused in ((200, False), (201, True)):
        start, end = "data:image/png;name=", ";base64,"
        url = start + "x" * (num_characters - len(start) - len(end)) + end + "AAAA"
        if is_refused:
            with pytest.raises(RefusalError):
                read_data_url(url, "image.url", LIMITS)
        else:
            assert read_data_url(url, "image.url", LIMITS) == b"\0\0\0"


def test_a_file_over_the_limit_is_refused_without_decoding_its_base64() -> None:
    broken = "data:image/png;base64," + "!" * 8000  # would be refused as broken if anyone looked
    with pytest.raises(RefusalError) as refusal:
        read_data_url(broken, "image.url", ImageLimits(max_image_bytes=5000))
    assert refusal.value.code == "image_too_large"
    assert "5,000" in str(refusal.value)


def test_a_file_of_exactly_the_limit_is_not_refused_for_its_size() -> None:
    data = b"x" * 100
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert read_data_url(url, "image.url", ImageLimits(max_image_bytes=100)) == data


async def test_no_picture_is_refused_with_the_ways_to_send_one() -> None:
    with pytest.raises(RefusalError, match="data:image/png;base64") as refusal:
        await decode_pictures([], limits=LIMITS)
    assert refusal.value.param == "image"


async def test_pictures_are_counted_before_any_is_looked_at() -> None:
    pictures = [Picture(param="image", content=b"rubbish")] * 9
    with pytest.raises(RefusalError) as refusal:
        await decode_pictures(pictures, limits=LIMITS)
    assert refusal.value.code == "too_many_images"


async def test_the_field_of_a_bad_picture_is_the_caller_s_name_for_it() -> None:
    with pytest.raises(RefusalError) as refusal:
        await decode_pictures([Picture(param="images[4].url", content=b"rubbish")], limits=LIMITS)
    assert (refusal.value.code, refusal.value.param) == ("invalid_image", "images[4].url")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that a decoder was given."""
    files: list[bytes] = []

    def note_and_decode(data: bytes, *, limits: ImageLimits) -> Image:
        files.append(data)
        return decode_image(data, limits=limits)

    monkeypatch.setattr("service.intake.decode_image", note_and_decode)
    return files


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("https://example.com/dog.png", "remote_image_refused"),
        ("data:image/png;base64,****", "invalid_value"),
        (b"rubbish", "invalid_image"),
        ((60, 60), "image_too_large"),
    ],
)
async def test_no_picture_is_decoded_before_the_last_was_looked_at(
    make_image: MakeImage, decoded: list[bytes], last: str | bytes | tuple[int, int], code: str
) -> None:
    good = make_image(size=(30, 30))
    content = make_image(size=last) if isinstance(last, tuple) else last
    pictures = [Picture(param="images[0].url", content=good), Picture(param="images[1].url", content=content)]
    with pytest.raises(RefusalError) as refusal:
        await decode_pictures(pictures, limits=ImageLimits(max_image_pixels=1_000))
    assert (refusal.value.code, refusal.value.param) == (code, "images[1].url")
    assert good not in decoded


async def test_all_pictures_together_may_have_twice_the_pixels_of_one(
    make_image: MakeImage, decoded: list[bytes]
) -> None:
    limits = ImageLimits(max_image_pixels=1_000)
    picture = Picture(param="image", content=make_image(size=(30, 30)))
    assert len(await decode_pictures([picture] * 2, limits=limits)) == 2
    decoded.clear()
    with pytest.raises(RefusalError, match=r"3 images have 0\.0 MP together.*GENRM_MAX_IMAGE_PIXELS") as refusal:
        await decode_pictures([picture] * 3, limits=limits)
    assert (refusal.value.code, refusal.value.param) == ("image_too_large", "images")
    assert decoded == []
