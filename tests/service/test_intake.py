"""Data URLs: what counts as one, strict base64, and limits before decoding."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.media import ImageLimits
from service.errors import RefusalError
from service.intake import Picture, decode_pictures, read_data_url

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
