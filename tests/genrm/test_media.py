"""Pictures arrive as people see them, or are refused with a reason; nothing hostile reaches a decoder that could
suffer from it.
"""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from genrm.errors import InvalidComparisonError, InvalidImageError
from genrm.media import ImageLimits, ImageTooLargeError, decode_image, decode_images

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
BOMB_SIDE = 20_000


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def draw_corner(size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    """White, with a red block in the upper left corner, so that turning it shows."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, 8, 8))
    return image.convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def build_png(width: int, height: int, samples: bytes, *, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow cannot write. samples: rows without filter bytes."""
    row = len(samples) // height if height else 0
    rows = b"".join(b"\0" + samples[start : start + row] for start in range(0, len(samples), row or 1))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def build_exif(orientation: int, *, order: str = "II") -> bytes:
    """EXIF data with one entry."""
    mark = "<" if order == "II" else ">"
    entry = struct.pack(f"{mark}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + order.encode() + struct.pack(f"{mark}HIH", 42, 8, 1) + entry + bytes(4)


def is_close(pixel: object, colour: tuple[int, int, int], *, tolerance: int = 12) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(sample - wanted) <= tolerance for sample, wanted in zip(pixel, colour, strict=True))


class TestAcceptedPictures:
    """Every accepted kind comes out upright, opaque and in RGB."""

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF"])
    def test_each_kind_is_decoded(self, image_format: str) -> None:
        picture = decode_image(encode(draw_corner((64, 32)), image_format))
        assert (picture.mode, picture.size) == ("RGB", (64, 32))
        assert is_close(picture.getpixel((3, 3)), RED, tolerance=40)
        assert is_close(picture.getpixel((50, 25)), WHITE)

    def test_the_kind_is_taken_from_the_content(self) -> None:
        # There is no name to lie with: bytes are all that is given.
        assert decode_image(encode(draw_corner(), "JPEG", quality=95)).size == (24, 16)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
    def test_every_png_mode_becomes_rgb(self, mode: str) -> None:
        image = Image.new("I;16", (9, 9), 65535) if mode == "I;16" else Image.new("RGB", (9, 9), WHITE).convert(mode)
        picture = decode_image(encode(image))
        assert picture.mode == "RGB"
        assert picture.getpixel((4, 4)) == WHITE

    @pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
    def test_transparency_is_laid_on_white(self, image_format: str) -> None:
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))  # black, if alpha were dropped
        image.paste((255, 0, 0, 255), (0, 0, 4, 8))
        picture = decode_image(encode(image, image_format, lossless=True))
        assert picture.getpixel((6, 4)) == WHITE
        assert picture.getpixel((1, 4)) == RED

    def test_half_transparent_pixels_are_mixed_with_white(self) -> None:
        picture = decode_image(encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128))))
        assert is_close(picture.getpixel((4, 4)), (255, 127, 127), tolerance=1)

    @pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
    def test_a_palette_picture_with_transparency_is_laid_on_white(self, transparency: int | bytes) -> None:
        image = Image.new("P", (8, 8), 0)
        image.putpalette([0, 0, 0, 0, 0, 255])
        image.paste(1, (0, 0, 4, 8))
        picture = decode_image(encode(image, transparency=transparency))
        assert picture.getpixel((6, 4)) == WHITE
        assert picture.getpixel((1, 4)) == BLUE

    @pytest.mark.parametrize(("mode", "colour"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
    def test_a_colour_that_stands_for_transparent_is_laid_on_white(
        self, mode: str, colour: int | tuple[int, int, int]
    ) -> None:
        picture = decode_image(encode(Image.new(mode, (8, 8), colour), transparency=colour))
        assert picture.getpixel((4, 4)) == WHITE

    def test_deep_grey_is_scaled_and_not_clipped(self) -> None:
        image = Image.new("I;16", (8, 8), 0x8000)
        assert decode_image(encode(image)).getpixel((4, 4)) == (128, 128, 128)

    def test_deep_grey_with_a_transparent_value_is_laid_on_white(self) -> None:
        samples = struct.pack(">8H", *[0x1234] * 4, *[0x1233] * 4) * 8
        picture = decode_image(build_png(8, 8, samples, depth=16, colour_type=0, extra=chunk(b"tRNS", b"\x12\x34")))
        assert picture.getpixel((1, 1)) == WHITE
        assert picture.getpixel((6, 1)) == (0x12, 0x12, 0x12)

    def test_deep_colour_with_a_transparent_colour_is_refused(self) -> None:
        # Of 0xAB01 and 0xAB02 only one is transparent, and in 8 bits they are the same.
        samples = struct.pack(">24H", *[0xAB01, 0x0100, 0x0000] * 4, *[0xAB02, 0x0100, 0x0000] * 4) * 8
        transparent = chunk(b"tRNS", struct.pack(">3H", 0xAB01, 0x0100, 0x0000))
        with pytest.raises(InvalidImageError, match="16 bits a sample and a transparent colour"):
            decode_image(build_png(8, 8, samples, depth=16, colour_type=2, extra=transparent))

    @pytest.mark.parametrize(("depth", "row", "grey"), [(2, b"\x55\xaa", 0xAA), (4, b"\x11\x11\x22\x22", 0x22)])
    def test_shallow_grey_with_a_transparent_value_is_laid_on_white(self, depth: int, row: bytes, grey: int) -> None:
        # Four samples of 1, which is transparent, then four of 2.
        transparent = chunk(b"tRNS", b"\0\x01")
        picture = decode_image(build_png(8, 8, row * 8, depth=depth, colour_type=0, extra=transparent))
        assert picture.getpixel((1, 1)) == WHITE
        assert picture.getpixel((6, 1)) == (grey, grey, grey)

    def test_deep_colour_with_alpha_is_decoded(self) -> None:
        samples = struct.pack(">4H", 0xFFFF, 0, 0, 0xFFFF) * 64
        assert decode_image(build_png(8, 8, samples, depth=16, colour_type=6)).getpixel((4, 4)) == RED

    def test_a_cmyk_jpeg_is_converted(self) -> None:
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        assert is_close(decode_image(encode(image, "JPEG", quality=95)).getpixel((8, 8)), RED)

    def test_of_an_animated_gif_the_first_frame_is_taken(self) -> None:
        frames = [Image.new("RGB", (12, 12), colour) for colour in (GREEN, RED, BLUE)]
        data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert decode_image(data).getpixel((6, 6)) == GREEN

    def test_of_an_animated_webp_the_first_frame_is_taken(self) -> None:
        frames = [Image.new("RGB", (12, 12), colour) for colour in (GREEN, RED)]
        data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
        assert decode_image(data).getpixel((6, 6)) == GREEN

    def test_of_an_animated_png_the_first_frame_is_taken(self) -> None:
        frames = [Image.new("RGB", (12, 12), colour) for colour in (GREEN, RED)]
        data = encode(frames[0], save_all=True, append_images=frames[1:])
        assert b"acTL" in data
        assert decode_image(data).getpixel((6, 6)) == GREEN

    def test_an_animated_png_whose_still_picture_is_no_frame_is_refused(self) -> None:
        # Browsers show green and blue; red is for programs that know no animations.
        frames = [Image.new("RGB", (12, 12), colour) for colour in (RED, GREEN, BLUE)]
        data = encode(frames[0], save_all=True, append_images=frames[1:], default_image=True)
        with pytest.raises(InvalidImageError, match="an animation that never shows its still picture"):
            decode_image(data)

    def test_a_frame_that_is_a_part_of_the_picture_makes_no_frame_of_the_still(self) -> None:
        control = struct.pack(">II", 2, 0)
        part = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
        still = encode(Image.new("RGB", (12, 12), RED))
        start = still.index(b"IDAT") - 4
        data = still[:start] + chunk(b"acTL", control) + chunk(b"fcTL", part) + still[start:]
        with pytest.raises(InvalidImageError, match="an animation that never shows its still picture"):
            decode_image(data)

    def test_metadata_stays_behind(self) -> None:
        picture = decode_image(encode(draw_corner(), "JPEG", comment=b"secret", exif=build_exif(1)))
        assert picture.info == {}
        assert dict(picture.getexif()) == {}


class TestOrientation:
    """A picture is turned as its EXIF data say, and by nothing else."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
    def test_all_eight_orientations_come_out_upright(self, image_format: str, orientation: int) -> None:
        upright = draw_corner((48, 32))
        stored = {
            1: upright,
            2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            3: upright.transpose(Image.Transpose.ROTATE_180),
            4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
            5: upright.transpose(Image.Transpose.TRANSPOSE),
            6: upright.transpose(Image.Transpose.ROTATE_90),
            7: upright.transpose(Image.Transpose.TRANSVERSE),
            8: upright.transpose(Image.Transpose.ROTATE_270),
        }[orientation]
        picture = decode_image(encode(stored, image_format, exif=build_exif(orientation)))
        assert picture.size == (48, 32)
        assert is_close(picture.getpixel((3, 3)), RED, tolerance=60)
        assert is_close(picture.getpixel((44, 28)), WHITE, tolerance=20)

    def test_both_byte_orders_are_understood(self) -> None:
        for order in ("II", "MM"):
            assert decode_image(encode(draw_corner(), "JPEG", exif=build_exif(6, order=order))).size == (16, 24)

    def test_exif_behind_the_pixels_of_a_png_counts(self) -> None:
        data = encode(draw_corner())
        end = data.index(b"IEND") - 4
        assert decode_image(data[:end] + chunk(b"eXIf", build_exif(6)[6:]) + data[end:]).size == (16, 24)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_an_orientation_that_does_not_exist_is_upright(self, orientation: int) -> None:
        assert decode_image(encode(draw_corner(), exif=build_exif(orientation))).size == (24, 16)

    @given(
        image_format=st.sampled_from(["PNG", "JPEG", "WEBP"]),
        start=st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]),
        exif=st.binary(max_size=60),
    )
    def test_damaged_exif_does_not_spoil_the_picture(self, image_format: str, start: bytes, exif: bytes) -> None:
        data = encode(draw_corner(), image_format, exif=b"Exif\0\0" + start + exif)
        assert decode_image(data).size in {(24, 16), (16, 24)}

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
    def test_exif_is_never_given_to_a_reader_that_parses_all_of_it(
        self, image_format: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encode(draw_corner(), image_format, exif=build_exif(6))

        def fail(*_: object) -> None:
            raise AssertionError("Pillow's reader walks every directory that there is")

        monkeypatch.setattr(Image.Exif, "load", fail)
        assert decode_image(data).size == (16, 24)


class TestLimits:
    """What is too large or too small is refused by its header, with the numbers and the way out."""

    def test_a_file_over_the_byte_limit_is_refused_unread(self) -> None:
        with pytest.raises(ImageTooLargeError, match=r"1,001 bytes; the limit is 1,000\. .*GENRM_MAX_IMAGE_BYTES"):
            decode_image(bytes(1001), limits=ImageLimits(max_image_bytes=1000))

    def test_a_picture_over_the_pixel_limit_is_refused(self) -> None:
        with pytest.raises(ImageTooLargeError, match=r"30x20 pixels .* Resize it, or raise GENRM_MAX_IMAGE_PIXELS"):
            decode_image(encode(draw_corner((30, 20))), limits=ImageLimits(max_image_pixels=599))
        assert decode_image(encode(draw_corner((30, 20))), limits=ImageLimits(max_image_pixels=600)).size == (30, 20)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
    def test_a_decompression_bomb_is_refused_before_any_decoder_sees_it(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        side = struct.pack(">H", BOMB_SIDE)
        low = struct.pack("<H", BOMB_SIDE)
        bomb = {
            "PNG": build_png(BOMB_SIDE, BOMB_SIDE, b"", depth=8, colour_type=2),
            "JPEG": b"\xff\xd8\xff\xc0\0\x11\x08" + side + side + bytes(10) + b"\xff\xda\0\x02\xff\xd9",
            "GIF": b"GIF89a" + low + low + bytes(3) + b"\x2c" + bytes(9),
            "WEBP": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + struct.pack("<I", BOMB_SIDE - 1)[:3] * 2,
        }[kind]
        monkeypatch.setattr("genrm.media._DECODERS", {})
        with pytest.raises(ImageTooLargeError, match=r"20000x20000 pixels \(400\.0 MP\); the limit is 40 MP"):
            decode_image(bomb)

    def test_a_tiny_picture_is_refused_with_the_least_side(self) -> None:
        with pytest.raises(InvalidImageError, match=r"1x1 pixels; each side must have at least 8") as caught:
            decode_image(encode(Image.new("RGB", (1, 1))))
        assert not isinstance(caught.value, ImageTooLargeError)

    @pytest.mark.parametrize("size", [(8, 801), (801, 8)])
    def test_a_strip_is_refused_with_the_allowed_ratio(self, size: tuple[int, int]) -> None:
        with pytest.raises(InvalidImageError, match="at most 100 times"):
            decode_image(encode(Image.new("RGB", size)))
        assert decode_image(encode(Image.new("RGB", (8, 800)))).size == (8, 800)

    def test_too_many_images_are_refused_before_any_is_decoded(self) -> None:
        with pytest.raises(ImageTooLargeError, match="3 images; the limit is 2"):
            decode_images([b""] * 3, limits=ImageLimits(max_images=2))
        assert len(decode_images([encode(draw_corner())] * 2)) == 2

    def test_refusals_are_known_kinds_of_error(self) -> None:
        assert issubclass(ImageTooLargeError, InvalidImageError)
        assert issubclass(InvalidImageError, InvalidComparisonError)

    def test_pillows_own_limits_are_left_alone(self) -> None:
        before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        decode_image(encode(draw_corner()))
        assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF"])
    def test_pillows_own_limit_neither_refuses_nor_warns(
        self, image_format: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # `Image.open` would refuse anything over 20 pixels
        assert decode_image(encode(draw_corner(), image_format)).size == (24, 16)


class TestDamage:
    """What is no picture, or only part of one, is refused without a word of the decoder's."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"not an image",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"BM" + bytes(90),
            b"%PDF-1.7\n" + bytes(90),
        ],
    )
    def test_what_is_none_of_the_accepted_kinds_is_refused(self, data: bytes) -> None:
        with pytest.raises(InvalidImageError, match=r"The image file is .* Send a file of one of these kinds\."):
            decode_image(data)

    @pytest.mark.parametrize("image_format", ["TIFF", "BMP", "ICO", "PPM", "TGA"])
    def test_other_kinds_that_pillow_could_read_are_refused(self, image_format: str) -> None:
        with pytest.raises(InvalidImageError):
            decode_image(encode(draw_corner((16, 16)), image_format))

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF"])
    def test_a_truncated_file_is_refused(self, image_format: str) -> None:
        noise = Image.effect_noise((64, 64), 80).convert("RGB")
        data = encode(noise, image_format)
        for length in (12, len(data) // 4, len(data) // 2):
            with pytest.raises(InvalidImageError, match=f"The {image_format} file is damaged or cut short"):
                decode_image(data[:length])

    @given(
        image_format=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]),
        position=st.floats(0, 1),
        noise=st.binary(min_size=1, max_size=8),
        keep=st.floats(0.1, 1),
    )
    def test_damaged_files_are_decoded_or_refused_and_never_crash(
        self, image_format: str, position: float, noise: bytes, keep: float
    ) -> None:
        data = bytearray(encode(draw_corner((32, 32)), image_format))
        start = int(position * (len(data) - 1))
        data[start : start + len(noise)] = noise
        try:
            picture = decode_image(bytes(data[: int(keep * len(data))]), limits=ImageLimits(max_image_pixels=1_000_000))
        except InvalidImageError:
            return
        assert picture.mode == "RGB"

    def test_two_sizes_in_one_jpeg_are_refused(self) -> None:
        data = encode(draw_corner(), "JPEG")
        frame = data.index(b"\xff\xc0")
        length = 2 + int.from_bytes(data[frame + 2 : frame + 4])
        second = bytearray(data[frame : frame + length])
        second[5:9] = struct.pack(">HH", 999, 999)
        with pytest.raises(InvalidImageError, match="two ways that do not agree"):
            decode_image(data[: frame + length] + bytes(second) + data[frame + length :])

    def test_a_decoder_message_is_never_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> ImageFile.ImageFile:
            raise OSError("heap at 0x7f5c3a2b1d00")

        monkeypatch.setattr("genrm.media._DECODERS", {"PNG": fail})
        with pytest.raises(InvalidImageError) as caught:
            decode_image(encode(draw_corner()))
        assert "0x7f" not in str(caught.value)

    def test_running_out_of_memory_is_no_fault_of_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> ImageFile.ImageFile:
            raise MemoryError

        monkeypatch.setattr("genrm.media._DECODERS", {"PNG": fail})
        with pytest.raises(MemoryError):
            decode_image(encode(draw_corner()))


def test_pictures_are_decoded_alike_in_many_threads() -> None:
    files = [encode(draw_corner((20 + n, 30)), kind) for n in range(4) for kind in ("PNG", "JPEG", "GIF", "WEBP")] * 4
    alone = [decode_image(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert [picture.tobytes() for picture in pool.map(decode_image, files)] == alone
