"""Kind and size are read from the header alone, and agree with Pillow's on every picture Pillow can write."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genrm.image_header import MAX_BLOCKS, MAX_JPEG_SCANS, ImageFormat, read_header, sniff_format

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(image_format: str, size: tuple[int, int] = (31, 17), mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 1 if mode in "LP" else "teal").save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def read_size(data: bytes) -> tuple[int, int] | None:
    header = read_header(data)
    return None if header is None else (header.width, header.height)


SAMPLES = {
    "png": encode("PNG"),
    "jpeg": encode("JPEG"),
    "progressive jpeg": encode("JPEG", progressive=True),
    "gif": encode("GIF", mode="P"),
    "lossy webp": encode("WEBP"),
    "lossless webp": encode("WEBP", lossless=True),
    "extended webp": encode("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_kind_and_size_are_read_from_the_content(name: str) -> None:
    header = read_header(SAMPLES[name])
    assert header is not None
    assert header.format == name.rsplit(maxsplit=1)[-1].upper()
    assert (header.width, header.height) == (31, 17)


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    image_format=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]),
)
def test_the_size_agrees_with_what_was_encoded(size: tuple[int, int], image_format: ImageFormat) -> None:
    assert read_size(encode(image_format, size)) == size


@pytest.mark.parametrize("name", SAMPLES)
def test_a_header_cut_anywhere_gives_the_right_size_or_none(name: str) -> None:
    data = SAMPLES[name]
    for length in range(len(data)):
        assert read_size(data[:length]) in {None, (31, 17)}
    assert read_size(data[:9]) is None


@given(data=st.binary(max_size=200), start=st.sampled_from([*SAMPLES.values()]), keep=st.integers(3, 40))
def test_no_bytes_make_it_raise(data: bytes, start: bytes, keep: int) -> None:
    for candidate in (data, start[:keep] + data):
        header = read_header(candidate)
        assert header is None or (header.width >= 0 and header.height >= 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"BM" + bytes(60),
        b"II*\0" + bytes(60),
        b"%PDF-1.7",
        b"<svg/>",
        b"\0\0\0\x20ftypavif",
        b"GIF90a" + bytes(9),
    ],
)
def test_other_kinds_are_not_recognised(data: bytes) -> None:
    assert sniff_format(data) is None
    assert read_header(data) is None


def test_a_png_may_announce_more_than_it_holds() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    assert read_size(PNG_SIGNATURE + header) == (20_000, 20_000)


def test_a_png_that_does_not_begin_with_its_header_is_refused() -> None:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    assert read_size(PNG_SIGNATURE + chunk(b"tEXt", b"hello") + ihdr) is None


def test_a_gif_frame_beyond_the_screen_widens_the_picture() -> None:
    data = bytearray(SAMPLES["gif"])
    frame = data.index(b"\x2c\0\0\0\0\x1f\0\x11\0")  # where the picture's own description starts
    data[frame + 1 : frame + 5] = struct.pack("<HH", 1000, 2000)
    assert read_size(bytes(data)) == (1031, 2017)


def test_extensions_before_the_first_gif_frame_are_stepped_over() -> None:
    data = SAMPLES["gif"]
    first_block = 13 + (3 << (data[10] & 7) + 1)  # behind the palette
    comment = b"\x21\xfe\x03,,,\x01,\0"
    assert read_size(data[:first_block] + comment * 3 + data[first_block:]) == (31, 17)


def test_a_gif_without_a_frame_has_no_size() -> None:
    assert read_size(b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";" + bytes(9)) is None


def test_fill_bytes_and_junk_between_jpeg_segments_are_stepped_over() -> None:
    data = SAMPLES["jpeg"]
    assert read_size(data[:2] + b"\xff" * 5 + data[2:]) == (31, 17)
    behind_first_segment = 4 + int.from_bytes(data[4:6])
    assert read_size(data[:behind_first_segment] + b"junk" + data[behind_first_segment:]) == (31, 17)


def test_the_size_of_a_thumbnail_inside_a_jpeg_segment_is_not_taken_for_the_picture() -> None:
    thumbnail = encode("JPEG", (5, 5))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert read_size(SAMPLES["jpeg"][:2] + segment + SAMPLES["jpeg"][2:]) == (31, 17)


def test_a_jpeg_with_pixels_before_its_size_has_none() -> None:
    assert read_size(b"\xff\xd8\xff\xda\0\x02" + bytes(40)) is None


@pytest.mark.parametrize(
    "data",
    [
        SAMPLES["png"][:33] + chunk(b"teSt", b"") * (MAX_BLOCKS + 1) + SAMPLES["png"][33:],
        SAMPLES["jpeg"][:2] + b"\xff\xe1\0\x02" * (MAX_BLOCKS + 1) + SAMPLES["jpeg"][2:],
        SAMPLES["jpeg"][:2] + b"\xff" * (MAX_BLOCKS + 1) + SAMPLES["jpeg"][2:],
        SAMPLES["jpeg"][:-2] + b"\xff\xda\0\x02" * (MAX_JPEG_SCANS + 1) + b"\xff\xd9",
        b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"\x21\xfe" + b"\x01," * (MAX_BLOCKS + 1) + bytes(40),
    ],
    ids=["png chunks", "jpeg segments", "jpeg fill", "jpeg scans", "gif blocks"],
)
def test_files_built_to_be_slow_are_turned_away(data: bytes) -> None:
    assert read_header(data) is None
